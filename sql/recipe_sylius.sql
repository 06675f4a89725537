\getenv source PG_ABS_SRCDIR
\set recipe :source '/docs/recipes/sylius.sql'
\i :recipe
