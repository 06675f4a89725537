-- What pg_dump takes along: everything. The rows of an extension's tables are left out unless they are named here.
DO $$
DECLARE
    member regclass;
BEGIN
    FOR member IN
        SELECT c.oid
          FROM pg_catalog.pg_class AS c
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = 'lifecycle' AND c.relkind IN ('r', 'S')
         ORDER BY c.relname
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(member, '');
    END LOOP;
END
$$;

-- Rights are granted one by one, never to everybody.
REVOKE ALL ON ALL ROUTINES IN SCHEMA lifecycle FROM PUBLIC;
-- But for these, which tell nothing that is not in their argument: views call them with the rights of whoever reads, who may have been given the view only.
GRANT EXECUTE ON FUNCTION lifecycle.unpack_orders(bytea), lifecycle.unpack_lots(bytea), lifecycle.unpack_memberships(bytea), lifecycle.unpack_ways(bytea) TO PUBLIC;
