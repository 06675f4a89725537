\set id random(1, :orders)
UPDATE orders SET note = 'seen' WHERE id = :id;
