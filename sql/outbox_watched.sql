-- A shop's own columns, indexes, triggers and checks on the outbox hold for whatever claim() and ack() do.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
CREATE PROCEDURE letters(from_ int, to_ int) LANGUAGE sql AS $$
    INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, recipient, scenario, anchor, step, class, template, due_at)
        SELECT concat_ws(':', 'letter', 1, n, 'c' || n), 'c' || n, 'email', 'c' || n || '@example.org', 'letter', n, 1, 'transactional', 'letter', lifecycle.now()
          FROM generate_series(from_, to_) AS n
$$;

-- A COLUMN of the shop's goes with the message, and what is large stays whole.
ALTER TABLE lifecycle.outbox ADD COLUMN cost_centre text;
CREATE VIEW messages AS SELECT anchor, status, attempts, provider_id, cost_centre FROM lifecycle.outbox ORDER BY anchor::int;
CALL letters(1, 2);
UPDATE lifecycle.outbox SET cost_centre = 'crm',
       payload = jsonb_build_object('long', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) AS n));
SELECT anchor, cost_centre, length(payload ->> 'long') FROM lifecycle.claim() ORDER BY 1;
SELECT lifecycle.ack(array_agg(message_id), NULL, ARRAY['p1', NULL]) FROM lifecycle.outbox;
TABLE messages;
SELECT length(payload ->> 'long') FROM lifecycle.outbox;

-- INDEXES of all kinds are kept up, also one that makes each claim write it.
CREATE INDEX ON lifecycle.outbox (lower(recipient));
CREATE INDEX ON lifecycle.outbox (leased_until) WHERE status = 'leased';
CREATE INDEX ON lifecycle.outbox USING brin (sent_at);
CREATE UNIQUE INDEX ON lifecycle.outbox (customer_id, part) WHERE status = 'sent';
CALL letters(3, 4);
SELECT anchor FROM lifecycle.claim() ORDER BY 1;
SET enable_seqscan = off;
SELECT anchor FROM lifecycle.outbox WHERE leased_until > '2026-03-01 12:00+00' AND status = 'leased' ORDER BY 1;
SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox WHERE status = 'leased';
SELECT anchor, status FROM lifecycle.outbox WHERE lower(recipient) = 'c3@example.org';
SELECT count(*) FROM lifecycle.outbox WHERE leased_until > '2026-03-01 12:00+00' AND status = 'leased';
RESET enable_seqscan;
CALL letters(13, 13);
UPDATE lifecycle.outbox SET customer_id = 'c3' WHERE anchor = '13';
SELECT anchor FROM lifecycle.claim();
\set VERBOSITY sqlstate
SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox WHERE anchor = '13';
\set VERBOSITY default
DELETE FROM lifecycle.outbox WHERE anchor = '13';

-- A TRIGGER sees each message go out on lease and into history; a CHECK holds.
CREATE TABLE seen (n int GENERATED ALWAYS AS IDENTITY, did text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.seen (did) VALUES (concat_ws(' ', TG_OP, TG_TABLE_NAME, coalesce(NEW.anchor, OLD.anchor), OLD.status || ' ->', NEW.status));
    RETURN NULL;
END
$$;
CREATE TRIGGER note AFTER UPDATE OR INSERT OR DELETE ON lifecycle.outbox FOR EACH ROW EXECUTE FUNCTION note();
CALL letters(5, 6);
SELECT anchor, attempts, leased_by, cost_centre FROM lifecycle.claim(consumer => 'mailer-1') ORDER BY 1;
SELECT lifecycle.ack(array_agg(message_id ORDER BY message_id), min(lease_token), ARRAY['p5', 'p6']) FROM lifecycle.outbox WHERE status = 'leased';
SELECT did FROM seen ORDER BY n;
TABLE messages;
DROP TRIGGER note ON lifecycle.outbox;
ALTER TABLE lifecycle.outbox ADD CONSTRAINT twice_at_most CHECK (attempts <= 1), ADD CONSTRAINT no_provider CHECK (provider_id IS NULL) NOT VALID;
CALL letters(7, 7);
SELECT lifecycle.fail(message_id, 'not yet', '0') FROM lifecycle.claim();
\set VERBOSITY sqlstate
SELECT anchor FROM lifecycle.claim();
ALTER TABLE lifecycle.outbox DROP CONSTRAINT twice_at_most;
SELECT anchor FROM lifecycle.claim();
SELECT lifecycle.ack(array_agg(message_id), NULL, ARRAY['p7']) FROM lifecycle.outbox WHERE status = 'leased';
SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox WHERE status = 'leased';
\set VERBOSITY default
SELECT * FROM messages WHERE anchor = '7';

-- What a scenario sends keeps to it all, too: columns, triggers and checks of the shop's.
DROP EXTENSION pg_lifecycle CASCADE;
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
ALTER TABLE lifecycle.outbox ADD COLUMN cost_centre text DEFAULT 'logistics';
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('parcel', 'event:parcel', 'active');
INSERT INTO lifecycle.step (scenario, position, channel, class, template) VALUES ('parcel', 1, 'email', 'transactional', 'parcel');
SELECT lifecycle.track('d1', 'event', '{"event": "parcel"}') \g /dev/null
SELECT customer_id, status, cost_centre FROM lifecycle.outbox;
CREATE TRIGGER note AFTER INSERT ON lifecycle.outbox FOR EACH ROW EXECUTE FUNCTION note();
SELECT lifecycle.track('d2', 'event', '{"event": "parcel"}') \g /dev/null
SELECT did LIKE 'INSERT % pending' AS seen FROM seen ORDER BY n DESC LIMIT 1;
DROP TRIGGER note ON lifecycle.outbox;
DROP EXTENSION pg_lifecycle CASCADE;
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('parcel', 'event:parcel', 'active');
INSERT INTO lifecycle.step (scenario, position, channel, class, template) VALUES ('parcel', 1, 'email', 'transactional', 'parcel');
ALTER TABLE lifecycle.outbox ADD CONSTRAINT not_to_d3 CHECK (customer_id <> 'd3');
SELECT lifecycle.track('d3', 'event', '{"event": "parcel"}');

DROP EXTENSION pg_lifecycle CASCADE;
DROP PROCEDURE letters;
DROP FUNCTION note;
DROP TABLE seen;
