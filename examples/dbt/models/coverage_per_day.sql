-- How much of each day's input (UTC) was looked at, and how much of what was seen may be believed.
with chunks as (
    select
        cast(coalesce(chunk_start, append_time) as date) as day,
        count(*) as chunks,
        count(*) filter (fate in ('processed', 'no_face')) / count(*) as looked_at
    from {{ ref("stg_chunks") }}
    group by all
),

faces as (
    select
        cast(window_start as date) as day,
        round(sum(face_seconds), 3) as face_seconds,
        coalesce(sum(face_seconds) filter (good), 0) / sum(face_seconds) as good,
        avg(face_height_px) as face_height_px
    from {{ ref("stg_windows") }}
    group by all
)

select
    chunks.day,
    chunks.chunks,
    chunks.looked_at,
    coalesce(faces.face_seconds, 0) as face_seconds,
    faces.good,
    faces.face_height_px
from chunks
left join faces on faces.day = chunks.day
