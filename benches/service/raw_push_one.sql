-- The durable work of a push of one update and nothing else, in the fastest way known: a function, one statement in
-- one round trip, one commit, no arrays. Ends in an error unless the entity still has its base version.
create function raw_push_one(
    own_scope text, device text, its_type text, its_id uuid, base integer, given text, mutation uuid
) returns integer
language plpgsql
as $$
declare
    reached bigint;
    document constant jsonb := given;
    written integer;
begin
    update scopes
    set revision = revision + 1
    where scope = own_scope
    returning revision into reached;
    insert into entity_versions (
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, updated_at
    )
    select
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, updated_at
    from entities
    where scope = own_scope and entity_type = its_type and entity_id = its_id and version = base;
    update entities
    set version = base + 1,
        revision = reached,
        deleted = false,
        data = document,
        data_bytes = octet_length(document::text),
        resolution = 'applied',
        device_id = device,
        mutation_id = mutation,
        edit_time = now(),
        updated_at = now()
    where scope = own_scope and entity_type = its_type and entity_id = its_id and version = base;
    get diagnostics written = row_count;
    return 1 / written;
end
$$
