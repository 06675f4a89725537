-- The playbook: what a shop gets on the first day, as rows to be edited.

CREATE FUNCTION lifecycle.install_playbook() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO lifecycle.loyalty_program (name) VALUES ('loyalty') ON CONFLICT DO NOTHING;

    INSERT INTO lifecycle.tier (name, rank, min_spend, benefits) VALUES
        ('bronze', 1,  100, '{"free_returns": true}'),
        ('silver', 2,  500, '{"free_returns": true, "free_shipping": true}'),
        ('gold',   3, 1000, '{"free_returns": true, "free_shipping": true, "early_access": true}'),
        ('vip',    4, 5000, '{"free_returns": true, "free_shipping": true, "early_access": true, "product_testers": true}')
    ON CONFLICT (name) DO NOTHING;

    INSERT INTO lifecycle.segment (name, dimension, rank, predicate, description) VALUES
        ('prospect', 'lifecycle', 1,
         'order_count = 0',
         'no order yet'),
        ('reactivated', 'lifecycle', 2,
         $p$last_order_at > now() - interval '60 days' AND last_order_at > previous_order_at + interval '90 days'$p$,
         'ordered within 60 days, after a gap of more than 90 days'),
        ('new', 'lifecycle', 3,
         $p$order_count = 1 AND last_order_at > now() - interval '60 days'$p$,
         'one order, within 60 days'),
        ('active', 'lifecycle', 4,
         $p$last_order_at > now() - interval '60 days'$p$,
         'last order within 60 days'),
        ('at_risk', 'lifecycle', 5,
         $p$last_order_at <= now() - interval '60 days' AND last_order_at > now() - interval '90 days'$p$,
         'last order 60 to 90 days ago'),
        ('dormant', 'lifecycle', 6,
         $p$last_order_at <= now() - interval '90 days' AND last_order_at > now() - interval '180 days'$p$,
         'last order 90 to 180 days ago'),
        ('lost', 'lifecycle', 7,
         $p$last_order_at <= now() - interval '180 days'$p$,
         'last order 180 days ago or more'),
        -- Who has never been mailed, as far as is known, is in none of these. Opens alone are weak evidence (mail programs open by themselves),
        -- but so they are of being dormant.
        ('engaged', 'engagement', 1,
         $p$greatest(last_open_at, last_click_at) > now() - interval '90 days'$p$,
         'opened or clicked within 90 days'),
        ('engagement_dormant', 'engagement', 2,
         $p$coalesce(last_sent_at, last_open_at, last_click_at) IS NOT NULL AND last_activity_at > now() - interval '90 days'$p$,
         'no open or click for 90 days, but other activity since'),
        ('engagement_win_back', 'engagement', 3,
         $p$coalesce(last_sent_at, last_open_at, last_click_at) IS NOT NULL
            AND last_activity_at <= now() - interval '90 days' AND last_activity_at > now() - interval '180 days'$p$,
         'last activity of any kind 90 to 180 days ago'),
        ('engagement_inactive', 'engagement', 4,
         $p$coalesce(last_sent_at, last_open_at, last_click_at) IS NOT NULL
            AND coalesce(last_activity_at, created_at, last_sent_at) <= now() - interval '180 days'$p$,
         'no activity for 180 days'),
        ('high_value', NULL, NULL,
         'order_count >= 3 AND average_order_value >= 100',
         'several orders with a high average basket'),
        ('churn_risk', NULL, NULL,
         $p$order_count >= 3 AND last_order_at <= now() - interval '90 days' AND last_order_at > now() - interval '1 year'$p$,
         'formerly active, silent for 90 days to a year'),
        ('sustainability', NULL, NULL,
         $p$has_tag('sustainability') OR has_tag('eco')$p$,
         'interested in sustainable products'),
        ('cart_abandoner', NULL, NULL,
         $p$cart_id IS NOT NULL AND cart_updated_at <= now() - interval '1 hour' AND cart_updated_at > now() - interval '30 days'$p$,
         'an open cart that has not changed for an hour'),
        ('remarketing_cart', NULL, NULL,
         $p$in_segment('cart_abandoner') AND ads_consent = 'granted' AND NOT in_segment('engaged')
            AND coalesce(last_order_at <= now() - interval '14 days', true)$p$,
         'ad audience: left a cart; never buyers of the last 14 days nor readers of the newsletter'),
        ('remarketing_churn', NULL, NULL,
         $p$in_segment('churn_risk') AND ads_consent = 'granted' AND NOT in_segment('engaged')$p$,
         'ad audience: at risk of leaving; never readers of the newsletter')
    ON CONFLICT (name) DO NOTHING;

    INSERT INTO lifecycle.channel (name, consent) VALUES
        ('email', 'email')
    ON CONFLICT (name) DO NOTHING;

    INSERT INTO lifecycle.scenario (name, trigger, goal, max_age, priority) VALUES
        ('win_back',      'segment_entered:at_risk', 'order_placed', '7 days', 0),
        ('loyalty',       'tier_reached',            NULL,           '1 day', 0),
        ('post_purchase', 'order_placed',            NULL,           '1 day', 10)
    ON CONFLICT (name) DO NOTHING;

    INSERT INTO lifecycle.step (scenario, position, delay, not_after, class, template, subject, content) VALUES
        ('win_back', 1, '0', '14 days', 'marketing', 'win_back_we_miss_you',
         '{"de": "Wir vermissen Sie", "en": "We miss you"}',
         '{"de": {"body": "Es ist eine Weile her. Das hat sich seit Ihrem letzten Besuch getan."},
           "en": {"body": "It has been a while. Here is what is new since your last visit."}}'),
        ('win_back', 2, '30 days', '44 days', 'marketing', 'win_back_come_back',
         '{"de": "Ein Gutschein zum Wiederkommen", "en": "A coupon to come back"}',
         '{"de": {"body": "Kommen Sie zurück: dieser Gutschein wartet auf Sie."},
           "en": {"body": "Come back: this coupon is waiting for you."}}'),
        ('loyalty', 1, '0', '7 days', 'transactional', 'loyalty_tier_reached',
         '{"de": "Ihr neuer Status", "en": "Your new status"}',
         '{"de": {"body": "Sie haben eine neue Stufe erreicht. Das sind Ihre Vorteile."},
           "en": {"body": "You have reached a new tier. These are your benefits."}}'),
        ('post_purchase', 1, '0', '3 days', 'transactional', 'order_confirmed',
         '{"de": "Danke für Ihre Bestellung", "en": "Thank you for your order"}',
         '{"de": {"body": "Ihre Bestellung ist eingegangen."},
           "en": {"body": "We have received your order."}}')
    ON CONFLICT (scenario, position) DO NOTHING;
END
$$;
COMMENT ON FUNCTION lifecycle.install_playbook() IS 'Inserts the tiers, segments, channels, scenarios and steps of the playbook. Rows that exist are left alone; scenarios come as drafts';
