{# The rows of a table, each once: from the files that the contract lists, which are those of the dataset's log. A glob may see
   a row twice while files are merged, and rows that were erased. #}
{% macro current_files(table) %}
  {%- if execute -%}
    {%- set paths = run_query(
      "select unnest(resource.path) from (select unnest(resources) as resource from read_json('" ~ var("contract") ~
      "', maximum_object_size = 1000000000)) where resource.name = '" ~ table ~ "'"
    ).columns[0].values() -%}
    {%- if not paths -%}
      {{ exceptions.raise_compiler_error(
        var("contract") ~ ": the dataset has no " ~ table ~ "; fill it (episodes: `streamfx episodes " ~ var("dataset") ~
        "`), then write the contract anew") }}
    {%- endif -%}
    read_parquet([
      {%- for path in paths %}'{{ (var("dataset") ~ "/" ~ path) | replace("'", "''") }}'{{ ", " if not loop.last }}{% endfor -%}
    ], union_by_name = true, hive_partitioning = false)
  {%- endif -%}
{% endmacro %}
