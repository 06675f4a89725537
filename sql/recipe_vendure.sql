\getenv source PG_ABS_SRCDIR
\set recipe :source '/docs/recipes/vendure.sql'
\i :recipe
