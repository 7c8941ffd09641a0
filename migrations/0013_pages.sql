-- Pages at the price of what they show.
--
-- How far a page gets was measured by sums over all rows it might look at, and each row it showed was fetched again by
-- its place. A function that stops where the page is full looks at no more than that, and what it shows is one stretch
-- of the order of changes.

-- Whether a reader is shown a change.
--
-- revision, deleted, device_id, scope, entity_type: the change. began_at: the revision up to which the reader had
-- nothing when it began, and needs no tombstones. new_types: whether the stretch is read for types_new, new to its app,
-- or else for only_types (null: all) without except_types. leave_out: the device whose own changes are left out of its
-- user's scope; null: nobody's.
create function is_shown(
    revision bigint, deleted boolean, device_id text, scope text, entity_type text,
    began_at bigint, new_types boolean, leave_out text,
    only_types text[], except_types text[], types_new text[]
) returns boolean
language sql
immutable
as $$
    select
        case
            when revision <= began_at then not deleted
            else leave_out is null or device_id <> leave_out or scope = 'library'
        end
        and case
            when new_types then entity_type = any(types_new)
            else (only_types is null or entity_type = any(only_types)) and entity_type <> all(except_types)
        end
$$;

-- Measures one page of changes: stretches of the order of changes (lanes), one after the other.
--
-- Of the lanes, side by side: scopes, afters, untils (null: the scope's last revision), began_ats (null: likewise) and
-- new_types. leave_out, only_types, except_types and types_new: see is_shown. rows_max: how many rows to look at.
-- entities_max, bytes_max: how many entities to show, and how many bytes of their data; one entity always fits.
-- Result: one row for each lane: its place (from 1), what was given, where its scope stands (0: it has no row), the last
-- revision the page gets past (null: none), and whether everything in the lane was looked at.
-- All of one moment, that of the statement it is called in. Reads entities_revision_key from `after` on, at most
-- rows_max rows of it, and no further than one behind the page.
create function measure_page(
    scopes text[], afters bigint[], untils bigint[], began_ats bigint[], new_types boolean[],
    leave_out text, only_types text[], except_types text[], types_new text[],
    rows_max bigint, entities_max bigint, bytes_max bigint
) returns table (
    ordinal bigint, scope text, after bigint, began_at bigint, for_new_types boolean,
    head bigint, entities bigint, open_conflicts integer, inbox_revision bigint,
    last bigint, ended boolean
)
language plpgsql
stable
rows 2
as $$
declare
    rows_left bigint := rows_max;
    entities_left bigint := entities_max;
    bytes_left bigint := bytes_max;
    until bigint;
    is_full boolean := false;
    next_revision bigint;
    shown_bytes integer;
begin
    for place in 1 .. cardinality(scopes) loop
        ordinal := place;
        scope := scopes[place];
        after := afters[place];
        for_new_types := new_types[place];
        select stands.revision, stands.entities, stands.open_conflicts, stands.inbox_revision
        into head, entities, open_conflicts, inbox_revision
        from scopes as stands
        where stands.scope = measure_page.scope;
        head := coalesce(head, 0);
        entities := coalesce(entities, 0);
        open_conflicts := coalesce(open_conflicts, 0);
        inbox_revision := coalesce(inbox_revision, 0);
        until := coalesce(untils[place], head);
        began_at := coalesce(began_ats[place], head);
        last := null;
        ended := not is_full and rows_left > 0;
        if ended then
            for next_revision, shown_bytes in
                select
                    entity.revision,
                    case
                        when is_shown(
                            entity.revision, entity.deleted, entity.device_id, entity.scope, entity.entity_type,
                            measure_page.began_at, for_new_types, leave_out, only_types, except_types, types_new
                        ) then entity.data_bytes
                    end
                from entities as entity
                where entity.scope = measure_page.scope
                    and entity.revision > 0
                    and entity.revision > after
                    and entity.revision <= until
                order by entity.revision
                limit rows_left
            loop
                if shown_bytes is not null then
                    bytes_left := bytes_left - shown_bytes;
                    is_full := entities_left = 0 or (bytes_left < 0 and entities_left < entities_max);
                    exit when is_full;
                    entities_left := entities_left - 1;
                end if;
                rows_left := rows_left - 1;
                last := next_revision;
            end loop;
            ended := not is_full and rows_left > 0;
        end if;
        return next;
    end loop;
end
$$;

grant execute on function is_shown, measure_page to ironflow_sync_service;
