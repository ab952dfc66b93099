-- Windows, with the seconds until the next one of the track begins, so that each moment of a face counts once.
select
    *,
    epoch(least(window_end, lead(window_start, 1, window_end) over track)) - epoch(window_start) as face_seconds,
    frames >= 12 and coalesce(expression_novelty, 0) < 0.5 as good
from {{ current_files("windows") }}
window track as (partition by stream_id, track_id order by window_start, config_id)
