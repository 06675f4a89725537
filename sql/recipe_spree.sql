\getenv source PG_ABS_SRCDIR
\set recipe :source '/docs/recipes/spree.sql'
\i :recipe
