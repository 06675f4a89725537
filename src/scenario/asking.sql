-- What triggers and gates say of a customer as things stand.

CREATE FUNCTION lifecycle.step_gates(customer_id text, scenario text) RETURNS TABLE (step int, reason text, wait_until timestamptz)
    LANGUAGE c STABLE STRICT ROWS 3
    AS 'MODULE_PATHNAME', 'lifecycle_step_gates';
COMMENT ON FUNCTION lifecycle.step_gates(text, text) IS 'Internal: for each step of a scenario that is active or paused the gate that would stop it if it fell due for the customer now, and until when it would wait; reason NULL: none';

CREATE FUNCTION lifecycle.holds(customer_id text, condition text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_holds';
COMMENT ON FUNCTION lifecycle.holds(text, text) IS 'Whether a condition, written like lifecycle.segment.predicate, holds for a customer now. Errors: a condition that cannot work';

CREATE FUNCTION lifecycle.starts_at(customer_id text, scenario text) RETURNS timestamptz
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_starts_at';
COMMENT ON FUNCTION lifecycle.starts_at(text, text) IS 'Internal: when time alone will start a scenario on cart_idle, birthday or date next for a customer; NULL: it will not';
