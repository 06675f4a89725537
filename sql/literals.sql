-- Literals in what users write: reading one must not run anybody's code with another's rights, nor freeze the clock.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE ROLE literal_reader;
CREATE ROLE literal_owner;
SELECT lifecycle.grant_reader('literal_reader');
CREATE SCHEMA literals;
GRANT ALL ON SCHEMA literals TO PUBLIC;

-- Whoever may define a type has code run where its values are read: by a domain's check, wherever the domain is.
SET ROLE literal_reader;
CREATE FUNCTION literals.climb(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE literal_reader SUPERUSER'; RETURN true; END $$;
CREATE DOMAIN literals.number AS int CHECK (literals.climb(VALUE));
CREATE DOMAIN literals.numbers AS literals.number[];
CREATE TYPE literals.pair AS (a literals.number, b text);
CREATE TYPE literals.span AS RANGE (subtype = literals.number);
CREATE FUNCTION literals.is_any(literals.number[], int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR literals.=== (LEFTARG = literals.number[], RIGHTARG = int, FUNCTION = literals.is_any);
SELECT lifecycle.preview_segment($$ '5'::literals.number > 0 $$);
SELECT lifecycle.preview_segment($$ '{5}'::literals.number[] IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ literals.number '5' > 0 $$);
SELECT lifecycle.preview_segment($$ '{5}'::literals.numbers IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ CAST('(5,x)' AS literals.pair) IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ '{"(5,x)"}'::literals.pair[] IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ '[1,2]'::literals.span IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ '{5}' OPERATOR(literals.===) 5 $$);
SELECT lifecycle.preview_segment($$ literals.is_any('{5}', 5) $$);
SELECT lifecycle.preview_segment($$ ARRAY['5']::literals.number[] IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ COALESCE('{5}', NULL::literals.number[]) IS NOT NULL $$);
SELECT lifecycle.preview_segment($$ CASE '{5}' WHEN NULL::literals.number[] THEN true END $$);
SELECT lifecycle.preview_segment($$ (NULL::literals.number[])['{5}'] IS NULL $$);
SELECT lifecycle.preview_segment($$ '{5}'::text::literals.number[] IS NOT NULL $$);
RESET ROLE;
-- Nor do filters and mappings, of a table whose columns have such types.
SELECT lifecycle.grant_admin('literal_owner');
SET ROLE literal_owner;
CREATE TABLE literals.orders (id int PRIMARY KEY, c text, a numeric, p timestamptz, n literals.number[]);
SELECT lifecycle.attach('literals.orders', 'order', '{"order": "id", "customer": "c", "amount": "a", "placed_at": "p"}', $$ n = '{5}' $$);
SELECT lifecycle.attach('literals.orders', 'order', '{"order": "id", "customer": "CASE WHEN n <> ''{5}'' THEN c END", "amount": "a", "placed_at": "p"}');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('climb', $$ '{5}'::literals.number[] IS NOT NULL $$);
RESET ROLE;
SELECT rolname, rolsuper FROM pg_roles WHERE rolname ~ '^literal_' ORDER BY 1;

-- Nobody's parameters stand for them.
SELECT lifecycle.preview_segment('order_count > $1');
SELECT lifecycle.preview_segment('order_count > $0 AND email = ''x''');

-- What is part of PostgreSQL is read as ever, and enums are names only.
SELECT lifecycle.track('ann', 'customer', '{"attributes": {"k": "v"}}');
CREATE TYPE literals.colour AS ENUM ('red', 'blue');
SELECT members FROM lifecycle.preview_segment($$ '{1,2}'::int[] = ARRAY[1, '2'] AND '[1,2)'::int4range @> 1 AND 'red'::literals.colour < 'blue' AND '{red}'::literals.colour[] IS NOT NULL
    AND NOT 'x' IS NULL AND 'a' || 'b' LIKE 'a_' AND 'x' IN ('x', 'y') AND (attributes->>'none' = 'v') IS NULL AND coalesce(attributes['none'], '"w"') = '"w"'
    AND CASE 'a' WHEN 'a' THEN 'true' END = 'true' AND extract('year' FROM timestamp '2030-01-01') = 2030 AND interval '1' day = '24 hours' AND numeric(5,2) '1.005' = 1.01
    AND 'abc' SIMILAR TO 'a%' ESCAPE '!' AND nullif('a', 'b') = 'a' AND greatest('a', 'b') = 'b' AND 'a' IS DISTINCT FROM 'b' AND 'q' < ANY ('{r,s}') AND U&'\0061' = 'a' AND B'1' = '1'::bit $$);
SELECT members FROM lifecycle.preview_segment($$ attributes->>'k' = 'v' AND attributes['k'] = '"v"' $$);
SELECT lifecycle.preview_segment($$ order_count > 'many' $$);
SELECT lifecycle.preview_segment($$ '5' $$);
SELECT members FROM lifecycle.preview_segment($$ 'true' $$);

-- Words for the moment of reading, wherever they stand in a value of time; elsewhere they are texts.
SELECT lifecycle.preview_segment($$ last_order_at >= 'today 00:00' $$);
SELECT lifecycle.preview_segment($$ last_order_at < ' Today' $$);
SELECT lifecycle.preview_segment($$ last_order_at >= ('{today}'::timestamptz[])[1] $$);
SELECT lifecycle.preview_segment($$ last_order_at <@ '[yesterday,now)'::tstzrange $$);
SELECT lifecycle.preview_segment($$ last_order_at <@ '{[2030-01-01,tomorrow)}'::tstzmultirange $$);
SELECT lifecycle.preview_segment($$ birthday = date 'now' $$);
SELECT lifecycle.preview_segment($$ last_order_at::time < 'now' $$);
SELECT members FROM lifecycle.preview_segment($$ attributes->>'when' IS DISTINCT FROM 'now' AND attributes->>'when' IS DISTINCT FROM 'today' $$);
SELECT members FROM lifecycle.preview_segment($$ created_at IS NULL OR created_at < 'infinity' AND created_at > 'epoch' $$);

-- Arguments by name.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('named', $$ orders_within(span => '1 day') = 0 AND NOT bought('x', span => '1 day') $$);
SELECT * FROM lifecycle.members('named');
SELECT lifecycle.preview_segment($$ orders_within(days => '1 day') = 0 $$);

DROP TABLE literals.orders;
SET client_min_messages = 'error';
DROP SCHEMA literals CASCADE;
DROP EXTENSION pg_lifecycle;
DROP OWNED BY literal_reader, literal_owner;
DROP ROLE literal_reader, literal_owner;
