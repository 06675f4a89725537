\getenv source PG_ABS_SRCDIR
\set recipe :source '/docs/recipes/saleor.sql'
\i :recipe
