-- The clock, and the notice that configuration has changed.

REVOKE ALL ON SCHEMA lifecycle FROM PUBLIC;

CREATE FUNCTION lifecycle.now() RETURNS timestamptz
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'lifecycle_now';
COMMENT ON FUNCTION lifecycle.now() IS 'The clock of pg_lifecycle: the start of the statement, or the instant at which the setting lifecycle.clock has frozen it';

CREATE FUNCTION lifecycle.config_changed() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_config_changed';
COMMENT ON FUNCTION lifecycle.config_changed() IS 'Trigger of the configuration tables: tells every session to read them anew';

CREATE FUNCTION lifecycle.restoring() RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_restoring';
COMMENT ON FUNCTION lifecycle.restoring() IS 'Whether this session loads a dump: settings check_function_bodies and row_security are off';

CREATE FUNCTION lifecycle.system_identifier() RETURNS bigint
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_system_identifier';
COMMENT ON FUNCTION lifecycle.system_identifier() IS 'Internal: the identifier of this cluster, as in pg_control_system(), without reading a file';

CREATE FUNCTION lifecycle.hmac(key bytea, message bytea) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'lifecycle_hmac';
COMMENT ON FUNCTION lifecycle.hmac(bytea, bytea) IS 'Internal: HMAC-SHA-256 (RFC 2104)';

CREATE FUNCTION lifecycle.notify_at_commit(channel text, payload text) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_notify_at_commit';
COMMENT ON FUNCTION lifecycle.notify_at_commit(text, text) IS 'Internal: as pg_notify(), but no obstacle to PREPARE TRANSACTION; then nobody is told';
