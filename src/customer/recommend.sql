-- Which products are bought together and which sell best, counted from the lines of orders, and what follows from it for a customer.
--
-- Whoever writes order_item notes what has changed in basket_change; the tick counts it, some baskets at a time. So an order touches nobody
-- else's rows, and what is counted is exact: what a basket was before is what it is now, less what is noted of it.

CREATE TABLE lifecycle.basket_change (
    customer_id text COLLATE "C" NOT NULL,
    order_id    text NOT NULL,
    product     text NOT NULL,
    category    text,
    delta       int4 NOT NULL
) USING heap;
CREATE INDEX basket_change_customer_id_idx ON lifecycle.basket_change (customer_id, order_id);
COMMENT ON TABLE lifecycle.basket_change IS 'Internal: lines of orders that have come or gone and are not counted yet';
COMMENT ON COLUMN lifecycle.basket_change.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.basket_change.order_id IS 'The order';
COMMENT ON COLUMN lifecycle.basket_change.product IS 'The product';
COMMENT ON COLUMN lifecycle.basket_change.category IS 'Its category';
COMMENT ON COLUMN lifecycle.basket_change.delta IS '1: a line has come, -1: it has gone';

CREATE TABLE lifecycle.product_pair (
    product text COLLATE "C" NOT NULL,
    other   text COLLATE "C" NOT NULL,
    orders  bigint NOT NULL,
    CONSTRAINT product_pair_pkey PRIMARY KEY (product, other)
);
COMMENT ON TABLE lifecycle.product_pair IS 'How often two products were in one order; each pair is there both ways. Kept by the tick';
COMMENT ON COLUMN lifecycle.product_pair.product IS 'The one';
COMMENT ON COLUMN lifecycle.product_pair.other IS 'The other';
COMMENT ON COLUMN lifecycle.product_pair.orders IS 'In how many orders. Those of more than 50 products are left out: they say little of what goes together';

CREATE TABLE lifecycle.product_sales (
    product  text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    orders   bigint NOT NULL,
    CONSTRAINT product_sales_pkey PRIMARY KEY (product, category)
);
CREATE INDEX product_sales_category_idx ON lifecycle.product_sales (category, orders DESC, product);
CREATE INDEX product_sales_orders_idx ON lifecycle.product_sales (orders DESC, product);
COMMENT ON TABLE lifecycle.product_sales IS 'How often products were ordered. Kept by the tick';
COMMENT ON COLUMN lifecycle.product_sales.product IS 'The product';
COMMENT ON COLUMN lifecycle.product_sales.category IS 'The category that the orders say; empty: none';
COMMENT ON COLUMN lifecycle.product_sales.orders IS 'In how many orders';

CREATE FUNCTION lifecycle.lock_baskets() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$ SELECT pg_advisory_xact_lock('lifecycle.product_pair'::regclass::oid::int4, 0) $$;
COMMENT ON FUNCTION lifecycle.lock_baskets() IS 'Internal: only one session counts baskets at a time';

-- One statement, so that what is noted and what there is are seen as of one instant.
CREATE FUNCTION lifecycle.count_baskets(customers text[], orders text[], leaving boolean) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    WITH chosen AS MATERIALIZED (
        SELECT u.customer_id COLLATE "C" AS customer_id, u.order_id FROM unnest(customers, orders) AS u (customer_id, order_id)),
    noted AS (
        DELETE FROM lifecycle.basket_change AS b USING chosen AS c
         WHERE (b.customer_id, b.order_id) = (c.customer_id, c.order_id)
        RETURNING b.*),
    line AS (
        -- How many lines a basket has of a product now, and how many it had when it was last counted.
        SELECT l.customer_id, l.order_id, l.product, l.category,
               sum(l.lines) AS present, sum(l.lines) - sum(l.delta) AS past
          FROM (SELECT i.customer_id, i.order_id, i.product, coalesce(i.category, '') AS category, 1 AS lines, 0 AS delta
                  FROM chosen AS c JOIN lifecycle.order_item AS i USING (customer_id, order_id)
                UNION ALL
                SELECT n.customer_id, n.order_id, n.product, coalesce(n.category, ''), 0, n.delta FROM noted AS n) AS l
         GROUP BY l.customer_id, l.order_id, l.product, l.category),
    item AS (
        SELECT l.customer_id, l.order_id, l.product, l.category, l.present > 0 AND NOT leaving AS is_there, l.past > 0 AS was_there FROM line AS l),
    sold AS (
        INSERT INTO lifecycle.product_sales AS s (product, category, orders)
            SELECT i.product, i.category, sum(i.is_there::int4 - i.was_there::int4)
              FROM item AS i
             GROUP BY i.product, i.category
            HAVING sum(i.is_there::int4 - i.was_there::int4) <> 0
             ORDER BY i.product COLLATE "C", i.category COLLATE "C"
            ON CONFLICT (product, category) DO UPDATE SET orders = s.orders + EXCLUDED.orders),
    basket AS (
        SELECT array_agg(p.product) AS products, array_agg(p.is_there) AS is_there, array_agg(p.was_there) AS was_there,
               count(*) FILTER (WHERE p.is_there) <= 50 AS counts, count(*) FILTER (WHERE p.was_there) <= 50 AS counted
          FROM (SELECT i.customer_id, i.order_id, i.product, bool_or(i.is_there) AS is_there, bool_or(i.was_there) AS was_there
                  FROM item AS i GROUP BY i.customer_id, i.order_id, i.product) AS p
         GROUP BY p.customer_id, p.order_id),
    pair AS (
        SELECT a.product, b.product AS other, a.is_there AND b.is_there AND k.counts AS is_there, a.was_there AND b.was_there AND k.counted AS was_there
          FROM basket AS k
         -- Not a join of the baskets with themselves: how many there are is not known when that is planned.
         CROSS JOIN LATERAL unnest(k.products, k.is_there, k.was_there) AS a (product, is_there, was_there)
         CROSS JOIN LATERAL unnest(k.products, k.is_there, k.was_there) AS b (product, is_there, was_there)
         WHERE b.product <> a.product AND (k.counts OR k.counted))
    INSERT INTO lifecycle.product_pair AS p (product, other, orders)
        SELECT n.product, n.other, sum(n.is_there::int4 - n.was_there::int4)
          FROM pair AS n
         GROUP BY n.product, n.other
        HAVING sum(n.is_there::int4 - n.was_there::int4) <> 0
         ORDER BY n.product COLLATE "C", n.other COLLATE "C"
        ON CONFLICT (product, other) DO UPDATE SET orders = p.orders + EXCLUDED.orders
$$;
COMMENT ON FUNCTION lifecycle.count_baskets(text[], text[], boolean) IS 'Internal: counts what has changed in these orders of these customers; leaving: as if they were gone';

CREATE FUNCTION lifecycle.fold_baskets(most int DEFAULT 5000) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    customers text[];
    orders    text[];
BEGIN
    -- One at a time; who comes second leaves it to the first.
    IF NOT pg_try_advisory_xact_lock('lifecycle.product_pair'::regclass::oid::int4, 0) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(d.customer_id), array_agg(d.order_id) INTO customers, orders
      FROM (SELECT DISTINCT b.customer_id, b.order_id
              FROM (SELECT c.customer_id, c.order_id FROM lifecycle.basket_change AS c ORDER BY c.customer_id, c.order_id LIMIT most) AS b) AS d;
    IF customers IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM lifecycle.count_baskets(customers, orders, false);
    RETURN cardinality(customers);
END
$$;
COMMENT ON FUNCTION lifecycle.fold_baskets(int) IS 'Internal: counts orders whose lines have changed, some at a time, and returns how many; 0: nothing is left, or somebody else is at it';

CREATE FUNCTION lifecycle.uncount_baskets(customers text[], shared_with text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    owners text[];
    orders text[];
BEGIN
    SELECT array_agg(u.customer_id), array_agg(u.order_id) INTO owners, orders
      FROM (SELECT i.customer_id, i.order_id FROM lifecycle.order_item AS i WHERE i.customer_id = ANY (customers)
            UNION
            SELECT b.customer_id, b.order_id FROM lifecycle.basket_change AS b WHERE b.customer_id = ANY (customers)) AS u
     WHERE shared_with IS NULL
        OR EXISTS (SELECT FROM lifecycle.order_item AS o WHERE (o.customer_id, o.order_id) = (shared_with, u.order_id))
        OR EXISTS (SELECT FROM lifecycle.basket_change AS o WHERE (o.customer_id, o.order_id) = (shared_with, u.order_id));
    IF owners IS NULL THEN
        RETURN;
    END IF;
    PERFORM lifecycle.lock_baskets();
    PERFORM lifecycle.count_baskets(owners, orders, true);
    IF shared_with IS NOT NULL THEN
        INSERT INTO lifecycle.basket_change (customer_id, order_id, product, category, delta)
            SELECT shared_with, i.order_id, i.product, i.category, 1
              FROM lifecycle.order_item AS i WHERE i.customer_id = ANY (customers) AND i.order_id = ANY (orders);
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.uncount_baskets(text[], text) IS 'Internal: takes the orders of customers who are to be erased out of what is counted; shared_with: those that this customer has too, whose lines become this customer''s';

CREATE VIEW lifecycle.counted_sales AS
    SELECT i.product COLLATE "C" AS product, coalesce(i.category, '') COLLATE "C" AS category, count(DISTINCT (i.customer_id, i.order_id)) AS orders
      FROM lifecycle.order_item AS i
     WHERE i.customer_id <> ''
     GROUP BY 1, 2;
COMMENT ON VIEW lifecycle.counted_sales IS 'Internal: lifecycle.product_sales, worked out anew';
COMMENT ON COLUMN lifecycle.counted_sales.product IS 'The product';
COMMENT ON COLUMN lifecycle.counted_sales.category IS 'Its category';
COMMENT ON COLUMN lifecycle.counted_sales.orders IS 'In how many orders';

CREATE VIEW lifecycle.counted_pairs AS
    SELECT a.product COLLATE "C" AS product, b.product COLLATE "C" AS other, count(*) AS orders
      FROM (SELECT array_agg(DISTINCT i.product) AS products FROM lifecycle.order_item AS i
             WHERE i.customer_id <> '' GROUP BY i.customer_id, i.order_id HAVING count(DISTINCT i.product) BETWEEN 2 AND 50) AS k
     CROSS JOIN LATERAL unnest(k.products) AS a (product) CROSS JOIN LATERAL unnest(k.products) AS b (product)
     WHERE a.product <> b.product
     GROUP BY 1, 2;
COMMENT ON VIEW lifecycle.counted_pairs IS 'Internal: lifecycle.product_pair, worked out anew';
COMMENT ON COLUMN lifecycle.counted_pairs.product IS 'The one product';
COMMENT ON COLUMN lifecycle.counted_pairs.other IS 'The other';
COMMENT ON COLUMN lifecycle.counted_pairs.orders IS 'In how many orders';

CREATE FUNCTION lifecycle.recount_baskets() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT lifecycle.lock_baskets();
    -- One statement again: what is noted by then is in what is counted.
    WITH noted AS (DELETE FROM lifecycle.basket_change),
    sold AS (
        INSERT INTO lifecycle.product_sales AS s (product, category, orders)
            SELECT coalesce(c.product, k.product), coalesce(c.category, k.category), coalesce(c.orders, 0)
              FROM lifecycle.counted_sales AS c FULL JOIN lifecycle.product_sales AS k USING (product, category)
             WHERE coalesce(c.orders, 0) IS DISTINCT FROM k.orders
            ON CONFLICT (product, category) DO UPDATE SET orders = EXCLUDED.orders)
    INSERT INTO lifecycle.product_pair AS p (product, other, orders)
        SELECT coalesce(c.product, k.product), coalesce(c.other, k.other), coalesce(c.orders, 0)
          FROM lifecycle.counted_pairs AS c FULL JOIN lifecycle.product_pair AS k USING (product, other)
         WHERE coalesce(c.orders, 0) IS DISTINCT FROM k.orders
        ON CONFLICT (product, other) DO UPDATE SET orders = EXCLUDED.orders;
    DELETE FROM lifecycle.product_sales AS s WHERE s.orders <= 0;
    DELETE FROM lifecycle.product_pair AS p WHERE p.orders <= 0;
$$;
COMMENT ON FUNCTION lifecycle.recount_baskets() IS 'Internal: part of lifecycle.rebuild(); counts all baskets anew';

CREATE FUNCTION lifecycle.recommend(customer_id text, kind text, max_products int DEFAULT 6, products text[] DEFAULT NULL)
    RETURNS TABLE (product text, category text, orders bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    owned  text[] := ARRAY(SELECT DISTINCT i.product FROM lifecycle.order_item AS i WHERE i.customer_id = recommend.customer_id);
    wished text[] := ARRAY(SELECT DISTINCT w.product FROM lifecycle.wishlist AS w WHERE w.customer_id = recommend.customer_id);
    basis  text[] := recommend.products;
    wanted text[];
BEGIN
    IF kind IS NULL OR kind NOT IN ('complementary', 'best_sellers', 'alternatives') THEN
        RAISE EXCEPTION 'kind "%" of recommendations is not known', kind
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The kinds are complementary, best_sellers and alternatives.';
    END IF;
    IF kind = 'complementary' THEN
        RETURN QUERY
            SELECT p.other, (SELECT NULLIF(s.category, '') FROM lifecycle.product_sales AS s WHERE s.product = p.other ORDER BY s.orders DESC, s.category LIMIT 1),
                   sum(p.orders)::bigint
              FROM lifecycle.product_pair AS p
             WHERE p.product = ANY (coalesce(basis, owned)) AND p.other <> ALL (owned || coalesce(basis, '{}')) AND p.orders > 0
             GROUP BY p.other ORDER BY sum(p.orders) DESC, p.other LIMIT max_products;
        RETURN;
    ELSIF kind = 'best_sellers' THEN
        -- The three categories of which the customer has ordered most often; who has not ordered yet gets the best of all.
        wanted := ARRAY(SELECT i.category FROM lifecycle.order_item AS i
                         WHERE i.customer_id = recommend.customer_id AND i.category <> ''
                         GROUP BY i.category ORDER BY count(DISTINCT i.order_id) DESC, i.category COLLATE "C" LIMIT 3);
    ELSE
        basis := coalesce(basis, wished);
        wanted := ARRAY(SELECT DISTINCT s.category FROM lifecycle.product_sales AS s WHERE s.product = ANY (basis) AND s.category <> '' AND s.orders > 0);
        owned := owned || wished || basis;
        IF wanted = '{}' THEN
            RETURN;
        END IF;
    END IF;
    -- The first of each category by its index, as many as could fall out because they are in several.
    RETURN QUERY
        SELECT f.product, f.category, f.orders
          FROM (SELECT DISTINCT ON (t.product) t.product, t.category, t.orders
                  FROM (SELECT s.product, s.category, s.orders FROM unnest(wanted) AS w (category)
                         CROSS JOIN LATERAL (SELECT x.* FROM lifecycle.product_sales AS x
                                              WHERE x.category = w.category AND x.product <> ALL (owned) AND x.orders > 0
                                              ORDER BY x.orders DESC, x.product LIMIT max_products) AS s
                        UNION ALL
                        (SELECT x.product, NULLIF(x.category, ''), x.orders FROM lifecycle.product_sales AS x
                          WHERE wanted = '{}' AND x.product <> ALL (owned) AND x.orders > 0
                          ORDER BY x.orders DESC, x.product LIMIT 4 * max_products)) AS t
                 ORDER BY t.product, t.orders DESC, t.category) AS f
         ORDER BY f.orders DESC, f.product LIMIT max_products;
END
$$;
COMMENT ON FUNCTION lifecycle.recommend(text, text, int, text[]) IS
'Products for a customer, none of which the customer has bought, the best ones first, with their category and in how many orders they are. Kinds:
complementary: what others have ordered together with what the customer has bought; best_sellers: what sells best in the customer''s three favourite
categories, or altogether if there is none; alternatives: what sells best in the categories of what is on the wishlist. products: instead of what was bought
or is on the wishlist. Errors: an unknown kind (22023)';
