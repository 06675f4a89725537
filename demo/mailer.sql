-- Two mailers, the first with nothing but SQL.
\echo 'In plain SQL:'
\set ECHO queries
BEGIN;

SELECT message_id, recipient, scenario, step, template
  FROM lifecycle.outbox
 WHERE status = 'pending' AND due_at <= now() AND now() < expires_at
 ORDER BY due_at, message_id LIMIT 2
   FOR UPDATE SKIP LOCKED;
\set ECHO none
SELECT coalesce(array_agg(message_id ORDER BY message_id), '{}') AS mine
  FROM (SELECT message_id FROM lifecycle.outbox
         WHERE status = 'pending' AND due_at <= now() AND now() < expires_at 
         ORDER BY due_at, message_id LIMIT 2) AS polled \gset
\set ECHO queries

UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = ANY (:'mine');

COMMIT;
\set ECHO none

\echo
\echo 'With leases, for a mailer that keeps no transaction open while it talks to the outside:'
\set ECHO queries
SELECT coalesce(array_agg(message_id ORDER BY message_id), '{}') AS mine, coalesce(min(lease_token), 0) AS token
  FROM lifecycle.claim(max_messages => 2, channel => 'email', consumer => 'mailer-1', lease => '5 min') \gset

SELECT message_id, recipient, template, status, leased_by, lifecycle.may_send(message_id, :token)
  FROM lifecycle.outbox WHERE message_id = ANY (:'mine');

SELECT lifecycle.ack(:'mine', :token);

SELECT status, count(*) FROM lifecycle.outbox GROUP BY status ORDER BY status;
\set ECHO none
