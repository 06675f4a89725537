\set customer random(1, :customers)
\set cents random(500, 20000)
INSERT INTO orders (customer_id, amount, placed_at) VALUES (:customer, :cents / 100.0, now());
