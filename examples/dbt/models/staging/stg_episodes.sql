select * from {{ current_files("episodes") }}
