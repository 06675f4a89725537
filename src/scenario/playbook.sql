-- The playbook: what a shop gets on the first day, as rows to be edited.

CREATE FUNCTION lifecycle.install_playbook() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    added text[];  -- Steps come with their scenario: those of one that is there already are the shop's
BEGIN
    INSERT INTO lifecycle.loyalty_program (name) VALUES ('loyalty') ON CONFLICT DO NOTHING;

    -- What has been renamed keeps its place: a tier comes only where there is one left for it.
    INSERT INTO lifecycle.tier (name, rank, min_spend, benefits)
        SELECT v.name, v.rank, v.min_spend, v.benefits::jsonb FROM (VALUES
        ('bronze', 1,  100, '{"free_returns": true}'),
        ('silver', 2,  500, '{"free_returns": true, "free_shipping": true}'),
        ('gold',   3, 1000, '{"free_returns": true, "free_shipping": true, "early_access": true}'),
        ('vip',    4, 5000, '{"free_returns": true, "free_shipping": true, "early_access": true, "product_testers": true}'))
            AS v (name, rank, min_spend, benefits)
         WHERE (SELECT count(*) FROM lifecycle.tier AS t
                 WHERE t.rank = v.rank OR (t.rank < v.rank AND t.min_spend >= v.min_spend) OR (t.rank > v.rank AND t.min_spend <= v.min_spend)) = 0
    ON CONFLICT (name) DO NOTHING;

    INSERT INTO lifecycle.offer (name, kind, value, codes, prefix, validity, validity_rounding, description) VALUES
        ('cart_free_shipping', 'free_shipping', NULL, 'generated', 'FREE', '48 hours', NULL,  '{"de": "Versand geschenkt", "en": "free shipping"}'),
        ('cart_discount',      'percent',       5,    'generated', 'CART', '48 hours', NULL,  '{"de": "5 % auf den Warenkorb", "en": "5 % off the cart"}'),
        ('come_back',          'percent',       10,   'generated', 'BACK', '14 days',  'day', '{"de": "10 % auf die nächste Bestellung", "en": "10 % off the next order"}'),
        ('loyalty_thanks',     'percent',       5,    'generated', 'THX',  '30 days',  'day', '{"de": "5 % als Dankeschön", "en": "5 % to say thank you"}'),
        ('product_testers',    'tester_group',  NULL, 'none',      '',     NULL,       NULL,  '{"de": "der Kreis der Produkttester", "en": "the circle of product testers"}'),
        ('reengage',           'percent',       10,   'generated', 'HEY',  '7 days',   'day', '{"de": "10 %, nur für kurze Zeit", "en": "10 % off, for a short time"}'),
        ('birthday',           'percent',       10,   'generated', 'BDAY', '14 days',  'day', '{"de": "10 % zum Geburtstag", "en": "10 % off for your birthday"}')
    ON CONFLICT (name) DO NOTHING;

    -- So does a segment of a dimension. No join, because those that others name must come first.
    INSERT INTO lifecycle.segment (name, dimension, rank, predicate, description)
        SELECT v.* FROM (VALUES
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
        -- Who has never been mailed, as far as is known, is in none of these, and silence counts from the first message on: nobody can have
        -- passed over what was never sent. Opens alone are weak evidence (mail programs open by themselves), but so they are of being dormant.
        ('engaged', 'engagement', 1,
         $p$greatest(last_open_at, last_click_at) > now() - interval '90 days'$p$,
         'opened or clicked within 90 days'),
        ('engagement_dormant', 'engagement', 2,
         $p$coalesce(last_open_at, last_click_at, first_sent_at) <= now() - interval '90 days' AND last_activity_at > now() - interval '90 days'$p$,
         'no open or click for 90 days, but other activity since'),
        ('engagement_win_back', 'engagement', 3,
         $p$coalesce(last_open_at, last_click_at, first_sent_at) IS NOT NULL AND last_activity_at IS NOT NULL
            AND greatest(last_activity_at, coalesce(last_open_at, last_click_at, first_sent_at)) <= now() - interval '90 days'
            AND greatest(last_activity_at, coalesce(last_open_at, last_click_at, first_sent_at)) > now() - interval '180 days'$p$,
         'mailed, and last activity of any kind 90 to 180 days ago'),
        ('engagement_inactive', 'engagement', 4,
         $p$coalesce(last_open_at, last_click_at, first_sent_at) IS NOT NULL
            AND greatest(last_activity_at, coalesce(last_open_at, last_click_at, first_sent_at)) <= now() - interval '180 days'$p$,
         'mailed, and no activity for 180 days'),
        ('high_value', NULL, NULL::int4,
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
         'ad audience: at risk of leaving; never readers of the newsletter'))
            AS v (name, dimension, rank, predicate, description)
         WHERE (SELECT count(*) FROM lifecycle.segment AS s WHERE (s.dimension, s.rank) = (v.dimension, v.rank)) = 0
    ON CONFLICT (name) DO NOTHING;

    INSERT INTO lifecycle.channel (name, consent, cap_per_day, cap_per_week, quiet_from, quiet_until) VALUES
        ('email',    'email', 2,    5,    NULL,    NULL),
        ('sms',      'sms',   1,    2,    '20:00', '09:00'),
        ('push',     'push',  1,    3,    '20:00', '09:00'),
        ('onsite',   NULL,    NULL, NULL, NULL,    NULL),
        ('audience', 'ads',   3,    NULL, NULL,    NULL),
        ('support',  NULL,    NULL, NULL, NULL,    NULL),
        ('suppress', NULL,    NULL, NULL, NULL,    NULL)
    ON CONFLICT (name) DO NOTHING;

    WITH added AS (
    INSERT INTO lifecycle.scenario (name, trigger, goal, exit_when, exclusion, reentry, max_age, priority)
        SELECT v.name, v.trigger, v.goal, v.exit_when, v.exclusion, v.reentry, v.max_age::interval, v.priority FROM (VALUES
        ('cart_recovery',      'cart_idle',                             'order_placed', NULL, NULL, 'once_per_anchor', '4 days', 5),
        ('welcome',            'consent:email',                         NULL,           NULL, NULL, 'every 180 days', '1 day', 5),
        ('post_purchase',      'order_placed',                          NULL,           NULL, NULL, 'once_per_anchor', '1 day', 10),
        ('review_care',        'review:2',                              NULL,           NULL, NULL, 'once_per_anchor', '7 days', 10),
        ('win_back',           'segment_entered:at_risk',               'order_placed', NULL, NULL, 'once_per_anchor', '7 days', 0),
        ('loyalty',            'tier_reached',                          NULL,           NULL, NULL, 'once_per_anchor', '1 day', 0),
        ('reengage_dormant',   'segment_entered:engagement_dormant',    'order_placed', $p$NOT in_segment('engagement_dormant')$p$, NULL, 'every 90 days', '7 days', 0),
        ('reengage_win_back',  'segment_entered:engagement_win_back',   'order_placed', $p$NOT in_segment('engagement_win_back')$p$, NULL, 'every 90 days', '7 days', 0),
        ('sunset',             'segment_entered:engagement_inactive',   'order_placed', $p$NOT in_segment('engagement_inactive')$p$, NULL, 'every 180 days', '7 days', 0),
        ('birthday',           'birthday',                              NULL,           NULL, NULL, 'once_per_anchor', '1 day', 0),
        ('season',             'date:2026-11-27',                       NULL,           NULL, NULL, 'once_per_anchor', '3 days', 0),
        ('wishlist',           'wishlist_added',                        NULL,           NULL, $p$last_order_at > now() - interval '14 days'$p$, 'once_per_anchor', '1 day', 0),
        ('remarketing',        'segment_entered:remarketing_cart',      NULL,           NULL, NULL, 'once_per_anchor', '1 day', 0),
        ('remarketing_end',    'segment_left:remarketing_cart',         NULL,           NULL, NULL, 'once_per_anchor', '30 days', 0))
            AS v (name, trigger, goal, exit_when, exclusion, reentry, max_age, priority)
         WHERE v.trigger !~ '^segment_' OR EXISTS (SELECT FROM lifecycle.segment AS s WHERE s.name = split_part(v.trigger, ':', 2))
    ON CONFLICT (name) DO NOTHING RETURNING name)
    SELECT coalesce(array_agg(a.name), '{}') INTO added FROM added AS a;

    INSERT INTO lifecycle.step (scenario, position, counts_from, delay, not_after, condition, channel, class, template, subject, content, offer, pool_empty,
                                recommends)
        SELECT v.scenario, v.position, v.counts_from, v.delay::interval, v.not_after::interval, v.condition, v.channel, v.class, v.template,
               v.subject::jsonb, v.content::jsonb, b.offer, coalesce(b.pool_empty, 'skip'), b.recommends
          FROM (VALUES
        ('cart_recovery', 1, 'anchor', '1 hour', '12 hours', NULL, 'email', 'marketing', 'cart_reminder',
         '{"de": "Ist etwas schiefgegangen?", "en": "Did something go wrong?"}',
         '{"de": {"body": "Ihr Warenkorb wartet noch auf Sie. Gab es ein technisches Problem? Hier geht es weiter."},
           "en": {"body": "Your cart is still waiting for you. Was there a technical problem? Go on here."}}'),
        ('cart_recovery', 2, 'anchor', '24 hours', '48 hours', NULL, 'email', 'marketing', 'cart_reviews',
         '{"de": "Das sagen andere über Ihre Auswahl", "en": "What others say about your choice"}',
         '{"de": {"body": "Bewertungen zu den Produkten in Ihrem Warenkorb."},
           "en": {"body": "Reviews of the products in your cart."}}'),
        ('cart_recovery', 3, 'anchor', '72 hours', '120 hours', NULL, 'email', 'marketing', 'cart_free_shipping',
         '{"de": "Versand geschenkt, 48 Stunden lang", "en": "Free shipping for 48 hours"}',
         '{"de": {"body": "Schließen Sie Ihre Bestellung in den nächsten 48 Stunden ab, und der Versand ist frei."},
           "en": {"body": "Complete your order within 48 hours, and shipping is free."}}'),
        ('welcome', 1, 'anchor', '0', '1 day', NULL, 'email', 'marketing', 'welcome_values',
         '{"de": "Willkommen", "en": "Welcome"}',
         '{"de": {"body": "Schön, dass Sie da sind. Wofür wir stehen."},
           "en": {"body": "Good to have you here. What we stand for."}}'),
        ('welcome', 2, 'anchor', '2 days', '4 days', NULL, 'email', 'marketing', 'welcome_best_sellers',
         '{"de": "Womit die meisten anfangen", "en": "Where most people begin"}',
         '{"de": {"body": "Unsere beliebtesten Kategorien."},
           "en": {"body": "Our best-selling categories."}}'),
        ('welcome', 3, 'anchor', '5 days', '10 days', NULL, 'email', 'marketing', 'welcome_why_us',
         '{"de": "Warum Sie hier richtig sind", "en": "What makes this the right place"}',
         '{"de": {"body": "Beratung, Qualität, Rückgabe: was Sie von uns erwarten dürfen."},
           "en": {"body": "Advice, quality, returns: what you may expect of us."}}'),
        ('post_purchase', 1, 'anchor', '0', '3 days', NULL, 'email', 'transactional', 'order_confirmed',
         '{"de": "Danke für Ihre Bestellung", "en": "Thank you for your order"}',
         '{"de": {"body": "Ihre Bestellung ist eingegangen."},
           "en": {"body": "We have received your order."}}'),
        ('post_purchase', 2, 'delivery', '1 day', '5 days', NULL, 'email', 'transactional', 'order_assist',
         '{"de": "So haben Sie lange Freude daran", "en": "How to get the most out of it"}',
         '{"de": {"body": "Anleitung und Tipps zu Ihrer Bestellung."},
           "en": {"body": "Manual and tips for your order."}}'),
        ('post_purchase', 3, 'delivery', '7 days', '10 days', NULL, 'email', 'marketing', 'order_review',
         '{"de": "Wie zufrieden sind Sie?", "en": "How happy are you with it?"}',
         '{"de": {"body": "Ihre Meinung hilft anderen: bewerten Sie Ihre Bestellung."},
           "en": {"body": "Your opinion helps others: review your order."}}'),
        ('post_purchase', 4, 'delivery', '21 days', '30 days', NULL, 'email', 'marketing', 'order_extend',
         '{"de": "Das passt dazu", "en": "What goes with it"}',
         '{"de": {"body": "Produkte, die Ihre Bestellung ergänzen."},
           "en": {"body": "Products that complement your order."}}'),
        ('review_care', 1, 'anchor', '0', '7 days', NULL, 'support', 'transactional', 'review_follow_up',
         '{"de": "Schlechte Bewertung", "en": "Bad review"}',
         '{"de": {"body": "Ein Kunde war unzufrieden. Bitte melden."},
           "en": {"body": "A customer was not happy. Please get in touch."}}'),
        ('win_back', 1, 'anchor', '0', '14 days', NULL, 'email', 'marketing', 'win_back_we_miss_you',
         '{"de": "Wir vermissen Sie", "en": "We miss you"}',
         '{"de": {"body": "Es ist eine Weile her. Das hat sich seit Ihrem letzten Besuch getan."},
           "en": {"body": "It has been a while. Here is what is new since your last visit."}}'),
        ('win_back', 2, 'anchor', '30 days', '44 days', NULL, 'email', 'marketing', 'win_back_come_back',
         '{"de": "Ein Gutschein zum Wiederkommen", "en": "A coupon to come back"}',
         '{"de": {"body": "Kommen Sie zurück: dieser Gutschein wartet auf Sie."},
           "en": {"body": "Come back: this coupon is waiting for you."}}'),
        ('loyalty', 1, 'anchor', '0', '7 days', NULL, 'email', 'transactional', 'loyalty_tier_reached',
         '{"de": "Ihr neuer Status", "en": "Your new status"}',
         '{"de": {"body": "Sie haben eine neue Stufe erreicht. Das sind Ihre Vorteile."},
           "en": {"body": "You have reached a new tier. These are your benefits."}}'),
        ('loyalty', 2, 'anchor', '1 day', '14 days', $p$tier = 'vip'$p$, 'email', 'marketing', 'loyalty_product_testers',
         '{"de": "Einladung in den Kreis der Produkttester", "en": "Join our circle of product testers"}',
         '{"de": {"body": "Als VIP testen Sie Neues, bevor es jemand anders sieht."},
           "en": {"body": "As a VIP you test what is new before anybody else sees it."}}'),
        ('reengage_dormant', 1, 'anchor', '0', '14 days', NULL, 'email', 'marketing', 'reengage_what_is_new',
         '{"de": "Neu seit Ihrem letzten Besuch", "en": "New since your last visit"}',
         '{"de": {"body": "Was sich getan hat, in einer Minute gelesen."},
           "en": {"body": "What has happened, read in a minute."}}'),
        ('reengage_win_back', 1, 'anchor', '0', '14 days', NULL, 'email', 'marketing', 'reengage_offer',
         '{"de": "Nur für kurze Zeit: ein Angebot für Sie", "en": "For a short time: an offer for you"}',
         '{"de": {"body": "Weil wir Sie gern wiedersehen."},
           "en": {"body": "Because we would like to see you again."}}'),
        ('sunset', 1, 'anchor', '0', '14 days', NULL, 'email', 'marketing', 'sunset_last_call',
         '{"de": "Möchten Sie weiter von uns hören?", "en": "Do you still want to hear from us?"}',
         '{"de": {"body": "Ein Klick genügt, sonst verabschieden wir uns."},
           "en": {"body": "One click will do; otherwise this is goodbye."}}'),
        ('sunset', 2, 'anchor', '14 days', NULL, NULL, 'suppress', 'transactional', 'sunset', '{}', '{}'),
        ('birthday', 1, 'anchor', '9 hours', '1 day', NULL, 'email', 'marketing', 'birthday',
         '{"de": "Alles Gute zum Geburtstag", "en": "Happy birthday"}',
         '{"de": {"body": "Zur Feier des Tages ein Geschenk von uns."},
           "en": {"body": "A present from us to celebrate the day."}}'),
        ('season', 1, 'anchor', '8 hours', '3 days', NULL, 'email', 'marketing', 'season',
         '{"de": "Heute geht es los", "en": "It begins today"}',
         '{"de": {"body": "Unsere Angebote zur Saison."},
           "en": {"body": "Our offers of the season."}}'),
        ('wishlist', 1, 'anchor', '3 days', '7 days', NULL, 'email', 'marketing', 'wishlist_reminder',
         '{"de": "Noch auf Ihrem Wunschzettel", "en": "Still on your wishlist"}',
         '{"de": {"body": "Sie hatten sich dieses Produkt gemerkt."},
           "en": {"body": "You put this product on your list."}}'),
        ('wishlist', 2, 'anchor', '10 days', '20 days', NULL, 'email', 'marketing', 'wishlist_alternatives',
         '{"de": "Oder lieber eines von diesen?", "en": "Or one of these instead?"}',
         '{"de": {"body": "Alternativen zu Ihrem Wunsch."},
           "en": {"body": "Alternatives to what you wished for."}}'),
        ('remarketing', 1, 'anchor', '0', '1 day', NULL, 'audience', 'marketing', 'audience_add', '{}', '{}'),
        ('remarketing_end', 1, 'anchor', '0', '30 days', NULL, 'audience', 'transactional', 'audience_remove', '{}', '{}'))
            AS v (scenario, position, counts_from, delay, not_after, condition, channel, class, template, subject, content)
          LEFT JOIN (VALUES
            ('cart_recovery',     3, 'cart_free_shipping', 'skip',         NULL),
            ('welcome',           2, NULL,                 'skip',         'best_sellers'),
            ('post_purchase',     4, NULL,                 'skip',         'complementary'),
            ('win_back',          1, NULL,                 'skip',         'best_sellers'),
            ('win_back',          2, 'come_back',          'skip',         NULL),
            ('loyalty',           1, 'loyalty_thanks',     'send_without', NULL),
            ('loyalty',           2, 'product_testers',    'skip',         NULL),
            ('reengage_win_back', 1, 'reengage',           'skip',         NULL),
            ('birthday',          1, 'birthday',           'skip',         NULL),
            ('wishlist',          2, NULL,                 'skip',         'alternatives')) AS b (scenario, position, offer, pool_empty, recommends)
            USING (scenario, position)
         WHERE v.scenario = ANY (added);

    INSERT INTO lifecycle.variant (scenario, position, name, template, subject, content, offer)
        SELECT v.* FROM (VALUES
            ('cart_recovery', 2, 'A', NULL, NULL::jsonb, NULL::jsonb, NULL),
            ('cart_recovery', 2, 'B', 'cart_questions', '{"de": "Fragen zu Versand, Rückgabe oder Zahlung?", "en": "Questions about shipping, returns or payment?"}',
             '{"de": {"body": "Die häufigsten Fragen, kurz beantwortet."}, "en": {"body": "The most frequent questions, answered briefly."}}', NULL),
            ('cart_recovery', 3, 'A', NULL, NULL, NULL, NULL),
            ('cart_recovery', 3, 'B', 'cart_discount', '{"de": "5 % auf Ihren Warenkorb, 48 Stunden lang", "en": "5 % off your cart for 48 hours"}',
             '{"de": {"body": "Ihr Rabatt wartet."}, "en": {"body": "Your discount is waiting."}}', 'cart_discount'))
            AS v (scenario, position, name, template, subject, content, offer)
         WHERE v.scenario = ANY (added);
END
$$;
COMMENT ON FUNCTION lifecycle.install_playbook() IS 'Inserts the tiers, offers, segments, channels, scenarios and steps of the playbook. Rows that exist are left alone, and so are the places of tiers and segments that have been renamed; scenarios come as drafts, steps with their scenario only';
