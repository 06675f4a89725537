-- The two rivals: what an experienced developer writes by hand to keep a purchase ledger, one row per customer and a
-- loyalty tier. They share the tables and differ in the trigger; psql variable each: row, statement, or none for the tables alone.

-- No key of its own: an order is in here once because its row is in orders once. That saves the rivals a unique index.
CREATE TABLE ledger (
  order_id    bigint NOT NULL,
  customer_id bigint NOT NULL,
  amount      numeric(12,2) NOT NULL,
  placed_at   timestamptz NOT NULL
);
CREATE INDEX ON ledger (customer_id);

CREATE TABLE tier (
  name      text PRIMARY KEY,
  min_spend numeric NOT NULL UNIQUE
);

-- As in the playbook.
INSERT INTO tier VALUES ('bronze', 100), ('silver', 500), ('gold', 1000), ('vip', 5000);

-- fillfactor leaves room on the page, so that an update touches no index (HOT).
CREATE TABLE customer (
  customer_id    bigint PRIMARY KEY,
  order_count    bigint NOT NULL,
  revenue        numeric NOT NULL,
  first_order_at timestamptz NOT NULL,
  last_order_at  timestamptz NOT NULL,
  tier           text
) WITH (fillfactor = 70);

-- UPDATE first, because most orders come from known customers and it is cheaper than an upsert; the upsert after it
-- stays correct when two sessions bring the same new customer.
CREATE FUNCTION order_placed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ledger VALUES (NEW.id, NEW.customer_id, NEW.amount, NEW.placed_at);

  UPDATE customer AS c
     SET order_count    = c.order_count + 1,
         revenue        = c.revenue + NEW.amount,
         first_order_at = least(c.first_order_at, NEW.placed_at),
         last_order_at  = greatest(c.last_order_at, NEW.placed_at),
         tier           = (SELECT name FROM tier WHERE min_spend <= c.revenue + NEW.amount
                            ORDER BY min_spend DESC LIMIT 1)
   WHERE c.customer_id = NEW.customer_id;

  IF NOT FOUND THEN
    INSERT INTO customer AS c
    VALUES (NEW.customer_id, 1, NEW.amount, NEW.placed_at, NEW.placed_at,
            (SELECT name FROM tier WHERE min_spend <= NEW.amount ORDER BY min_spend DESC LIMIT 1))
    ON CONFLICT (customer_id) DO UPDATE
    SET order_count    = c.order_count + 1,
        revenue        = c.revenue + excluded.revenue,
        first_order_at = least(c.first_order_at, excluded.first_order_at),
        last_order_at  = greatest(c.last_order_at, excluded.last_order_at),
        tier           = (SELECT name FROM tier WHERE min_spend <= c.revenue + excluded.revenue
                           ORDER BY min_spend DESC LIMIT 1);
  END IF;
  RETURN NULL;
END
$$;

-- Both inserts go by customer: the ledger's index fills faster, and two statements at once cannot deadlock.
CREATE FUNCTION orders_placed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ledger
  SELECT id, customer_id, amount, placed_at
    FROM placed
   ORDER BY customer_id;

  INSERT INTO customer AS c
  SELECT customer_id, orders, spent, first_at, last_at,
         (SELECT name FROM tier WHERE min_spend <= spent ORDER BY min_spend DESC LIMIT 1)
    FROM (SELECT customer_id, count(*) AS orders, sum(amount) AS spent, min(placed_at) AS first_at,
                 max(placed_at) AS last_at
            FROM placed
           GROUP BY customer_id
           ORDER BY customer_id) AS per_customer
  ON CONFLICT (customer_id) DO UPDATE
  SET order_count    = c.order_count + excluded.order_count,
      revenue        = c.revenue + excluded.revenue,
      first_order_at = least(c.first_order_at, excluded.first_order_at),
      last_order_at  = greatest(c.last_order_at, excluded.last_order_at),
      tier           = (SELECT name FROM tier WHERE min_spend <= c.revenue + excluded.revenue
                         ORDER BY min_spend DESC LIMIT 1);
  RETURN NULL;
END
$$;

SELECT :'each' = 'row' AS each_row, :'each' = 'statement' AS each_statement \gset
\if :each_row
CREATE TRIGGER order_placed AFTER INSERT ON orders
  FOR EACH ROW EXECUTE FUNCTION order_placed();
\elif :each_statement
CREATE TRIGGER orders_placed AFTER INSERT ON orders REFERENCING NEW TABLE AS placed
  FOR EACH STATEMENT EXECUTE FUNCTION orders_placed();
\endif
