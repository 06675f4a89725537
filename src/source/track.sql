-- Facts from application code, with no table behind them.

CREATE FUNCTION lifecycle.track(customer_id text, kind text, properties jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT NULL)
    RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_track';
COMMENT ON FUNCTION lifecycle.track(text, text, jsonb, timestamptz) IS
'Says a fact from application code, in the caller''s transaction: the same kinds with the same fields as lifecycle.attach().
properties: the fields, such as {"order": "4711", "amount": 59.90}; of an event also whatever else there is to say; of a customer only what has changed.
occurred_at: when, if the kind''s own field (placed_at, updated_at, ...) does not say it; default now. A time without a zone is in UTC.
A fact that was tracked before (the same order, cart, review, ...; the same event at the same instant) is replaced, so a call may be repeated.
Errors: what an attached row would be quarantined for, with the same SQLSTATE';

CREATE FUNCTION lifecycle.untrack(customer_id text, kind text, properties jsonb, occurred_at timestamptz DEFAULT NULL)
    RETURNS boolean
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_untrack';
COMMENT ON FUNCTION lifecycle.untrack(text, text, jsonb, timestamptz) IS
'Takes back a fact that lifecycle.track() has said; properties need only tell it apart, as {"order": "4711"} does. False: there is none';
