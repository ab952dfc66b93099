select * from {{ current_files("chunks") }}
