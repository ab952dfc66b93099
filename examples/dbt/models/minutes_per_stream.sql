-- How much of faces each stream showed in each minute (UTC), and of how many tracks.
select
    stream_id,
    time_bucket(interval '1 minute', window_start) as minute,
    round(sum(face_seconds), 3) as face_seconds,
    round(coalesce(sum(face_seconds) filter (good), 0), 3) as good_seconds,
    count(distinct track_id) as tracks
from {{ ref("stg_windows") }}
group by all
