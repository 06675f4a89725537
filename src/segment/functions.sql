-- The functions made for predicates. The compiler of predicates knows them and puts their value in their place; called anywhere else they
-- can only say so.

CREATE FUNCTION lifecycle.orders_within(span interval) RETURNS bigint
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.orders_within(interval) IS 'In predicates: how many orders the customer has placed within the span up to now; an order counts from its own instant until span after it';

CREATE FUNCTION lifecycle.spent_within(span interval) RETURNS numeric
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.spent_within(interval) IS 'In predicates: orders less refunds within the span up to now, each counted from its own instant until span after it; 0 if there is none';

CREATE FUNCTION lifecycle.event_count(event text) RETURNS bigint
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.event_count(text) IS 'In predicates: how many events of this name the customer has had';

CREATE FUNCTION lifecycle.event_count(event text, span interval) RETURNS bigint
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.event_count(text, interval) IS 'In predicates: how many events of this name the customer has had within the span up to now';

CREATE FUNCTION lifecycle.bought(product_or_category text) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.bought(text) IS 'In predicates: whether an order of the customer has a line with this product or category';

CREATE FUNCTION lifecycle.bought(product_or_category text, span interval) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.bought(text, interval) IS 'In predicates: whether an order within the span up to now has a line with this product or category';

CREATE FUNCTION lifecycle.viewed(product_or_category text) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.viewed(text) IS 'In predicates: whether the customer has had an event viewed or product_viewed with this product or category among its properties';

CREATE FUNCTION lifecycle.viewed(product_or_category text, span interval) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.viewed(text, interval) IS 'In predicates: the same within the span up to now';

CREATE FUNCTION lifecycle.has_tag(tag text) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.has_tag(text) IS 'In predicates: whether the customer has this tag; false for customers without tags';

CREATE FUNCTION lifecycle.in_segment(segment text) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.in_segment(text) IS 'In predicates: whether the customer is in another segment at the same instant';

CREATE FUNCTION lifecycle.context() RETURNS jsonb
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.context() IS 'In conditions of scenarios and steps: what started the enrolment, as in (context() ->> ''amount'')::numeric > 100; its fields are those of the fact, or cart, value, segment, tier, year, date, expires_at, points';

CREATE FUNCTION lifecycle.is_birthday() RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.is_birthday() IS 'In predicates: whether it is the customer''s birthday where the customer lives; false if it is not known. Born on 29 February: see shop.leap_birthday';

CREATE FUNCTION lifecycle.is_birthday(before interval) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.is_birthday(interval) IS 'In predicates: the same from so long before the day until its end';

CREATE FUNCTION lifecycle.is_anniversary(of date) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.is_anniversary(date) IS 'In predicates: whether it is the same day of a later year, as in is_anniversary(first_order_at::date)';

CREATE FUNCTION lifecycle.is_anniversary(of date, before interval) RETURNS boolean
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.is_anniversary(date, interval) IS 'In predicates: the same from so long before the day until its end';
