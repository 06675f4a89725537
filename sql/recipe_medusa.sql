\getenv source PG_ABS_SRCDIR
\set recipe :source '/docs/recipes/medusa.sql'
\i :recipe
