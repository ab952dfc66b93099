-- How long each expression was shown each day (UTC), and its share of the time of which the expression is known. No episode spans
-- midnight. A share of few tracks says little of others: docs/episodes.md has intervals.
with shown as (
    select
        cast(episode_start as date) as day,
        value as expression,
        sum(seconds) as seconds,
        count(*) as episodes,
        count(distinct (stream_id, track_id)) as tracks
    from {{ ref("stg_episodes") }}
    where measure = 'expression'
    group by all
)

select *, seconds / sum(seconds) over (partition by day) as share
from shown
