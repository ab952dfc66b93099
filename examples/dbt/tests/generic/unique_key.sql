{# Keys that more than one row has. #}
{% test unique_key(model, columns) %}
select {% for column in columns %}{{ adapter.quote(column) }}{{ ", " if not loop.last }}{% endfor %}
from {{ model }}
group by all
having count(*) > 1
{% endtest %}
