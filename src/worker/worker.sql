-- The worker, and how things stand.

CREATE FUNCTION lifecycle.worker_status(OUT pid int, OUT started_at timestamptz, OUT last_tick_at timestamptz,
                                        OUT sleeps_until timestamptz, OUT ticks bigint, OUT wake_ups bigint,
                                        OUT customers bigint, OUT errors bigint)
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'lifecycle_worker_status';
COMMENT ON FUNCTION lifecycle.worker_status() IS 'The worker of this database; all NULL: none is running';

CREATE FUNCTION lifecycle.start_worker() RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_start_worker';
COMMENT ON FUNCTION lifecycle.start_worker() IS 'Asks the launcher for a worker for this database, when this transaction commits; CREATE EXTENSION does it. Without shared_preload_libraries = ''pg_lifecycle'' it does nothing';

CREATE FUNCTION lifecycle.tick() RETURNS bigint
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_tick';
COMMENT ON FUNCTION lifecycle.tick() IS 'Does at once what the worker would: takes in what waits in the inbox, and brings every customer up to date for whom time has made something due. Returns how many of the latter';

CREATE VIEW lifecycle.status AS
    SELECT w.pid AS worker_pid, w.started_at AS worker_started_at, w.last_tick_at, w.sleeps_until,
           w.ticks, w.wake_ups, w.customers AS customers_ticked, w.errors AS worker_errors,
           lifecycle.is_armed() AS armed,
           t.next_due_at,
           greatest(lifecycle.now() - t.next_due_at, '0') AS lag,
           (SELECT count(*) FROM lifecycle.outbox AS o WHERE o.status = 'pending' AND o.due_at <= lifecycle.now()) AS messages_due,
           (SELECT count(*) FROM lifecycle.quarantine) AS quarantined,
           (SELECT count(*) FROM lifecycle.inbox) AS inbox,
           (SELECT i.said_at FROM lifecycle.inbox AS i ORDER BY i.entry_id LIMIT 1) AS inbox_since
      FROM lifecycle.worker_status() AS w,
           (SELECT min(due_at) AS next_due_at FROM lifecycle.timer) AS t;
COMMENT ON VIEW lifecycle.status IS 'How things stand: the worker, its lag, and what waits';
COMMENT ON COLUMN lifecycle.status.worker_pid IS 'Process of the worker of this database; NULL: none';
COMMENT ON COLUMN lifecycle.status.worker_started_at IS 'Since when it runs';
COMMENT ON COLUMN lifecycle.status.last_tick_at IS 'When it last looked';
COMMENT ON COLUMN lifecycle.status.sleeps_until IS 'Until when it sleeps; NULL: it is at work, or nothing is ever due';
COMMENT ON COLUMN lifecycle.status.ticks IS 'Transactions it has made since its start';
COMMENT ON COLUMN lifecycle.status.wake_ups IS 'How often it has woken up since its start';
COMMENT ON COLUMN lifecycle.status.customers_ticked IS 'Customers it has brought up to date since its start';
COMMENT ON COLUMN lifecycle.status.worker_errors IS 'Errors it has met since its start';
COMMENT ON COLUMN lifecycle.status.armed IS 'Whether this database may send; see lifecycle.arm()';
COMMENT ON COLUMN lifecycle.status.next_due_at IS 'The earliest timer';
COMMENT ON COLUMN lifecycle.status.lag IS 'For how long the earliest timer has been due';
COMMENT ON COLUMN lifecycle.status.messages_due IS 'Messages that wait for a mailer';
COMMENT ON COLUMN lifecycle.status.quarantined IS 'Rows in quarantine';

COMMENT ON COLUMN lifecycle.status.inbox IS 'Changes of asynchronous sources that wait to be taken in';
COMMENT ON COLUMN lifecycle.status.inbox_since IS 'Since when the first of them waits';

SELECT lifecycle.start_worker();
