-- lifecycle.clock: what it takes, and that each process reads the same instant out of it.

SET client_min_messages = warning;
CREATE EXTENSION pg_lifecycle;
SET TimeZone = 'Europe/Berlin';
SET DateStyle = 'German';

SET lifecycle.clock = 'soon';
SET lifecycle.clock = 'infinity';
SET lifecycle.clock = '2026-11-27 09:00+01';
SHOW lifecycle.clock;

-- Written with the abbreviation of a zone, and without one: it means the session's, also when that changes.
SET lifecycle.clock = '2026-07-27T12:00Z';
SHOW lifecycle.clock;
SET lifecycle.clock = '2026-07-27 12:00';
SET TimeZone = 'America/New_York';
SHOW lifecycle.clock;
SELECT lifecycle.now() = '2026-07-27 12:00+02' AS same;

-- A parallel worker is told before it knows the zones and their abbreviations.
SET force_parallel_mode = on;
SELECT lifecycle.now() = '2026-07-27 12:00+02' AS same, count(*) FROM pg_catalog.generate_series(1, 10);
SET TimeZone = 'Europe/Berlin';
SET lifecycle.clock = '2026-07-27T12:00Z';
SELECT count(*) FROM pg_catalog.generate_series(1, 10);
RESET force_parallel_mode;

-- Empty: the real time.
SET lifecycle.clock = '';
SHOW lifecycle.clock;
SELECT abs(extract(epoch FROM lifecycle.now() - pg_catalog.now())) < 3600 AS real;
DROP EXTENSION pg_lifecycle;
