#!/bin/bash
# POSTGRES_PASSWORD (required), POSTGRES_USER (default: postgres),
# POSTGRES_DB (default: POSTGRES_USER), as in the official image.
set -euo pipefail

# "-c fsync=off" means "postgres -c fsync=off"; other commands run as given.
[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

if [[ $(id -u) == 0 ]]; then
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    install -d -o postgres -g postgres -m 2775 /run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
    : "${POSTGRES_PASSWORD:?must be set}"
    user=${POSTGRES_USER:-postgres}
    db=${POSTGRES_DB:-$user}
    initdb --no-sync --encoding=UTF8 --username="$user" \
        --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256
    echo "listen_addresses = '0.0.0.0'" >>"$PGDATA/postgresql.conf"
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    # Single-user mode: no temporary server, so "ready to accept
    # connections" is logged exactly once, by the real one.
    [[ $db == postgres ]] ||
        postgres --single -F -c exit_on_error=true postgres <<<"CREATE DATABASE \"$db\"" >/dev/null
fi

exec "$@"
