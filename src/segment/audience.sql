-- Segments as the audiences of ad platforms.

CREATE FUNCTION lifecycle.normalize_email(email text, platform text DEFAULT 'google') RETURNS text
    LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN e.address !~ '^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$' THEN NULL
                WHEN platform = 'google' AND e.domain IN ('gmail.com', 'googlemail.com')
                THEN nullif(replace(split_part(e.address, '@', 1), '.', ''), '') || '@' || e.domain
                ELSE e.address END
      FROM (SELECT a.address, split_part(a.address, '@', 2) AS domain
              -- First as "C" has it, for which I is i in Turkey, too.
              FROM (SELECT lower(lower(btrim(email, E' \t\r\n') COLLATE "C") COLLATE "default") AS address) AS a) AS e
$$;
COMMENT ON FUNCTION lifecycle.normalize_email(text, text) IS 'An e-mail address as an ad platform wants it before hashing: trimmed, lower case; for google without the dots before @gmail.com and @googlemail.com. NULL: not an address';

CREATE FUNCTION lifecycle.normalize_phone(phone text, country_code text DEFAULT NULL, platform text DEFAULT 'google') RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN n.digits ~ '^[1-9][0-9]{6,14}$' THEN CASE WHEN platform = 'meta' THEN '' ELSE '+' END || n.digits END
      FROM (SELECT CASE WHEN p.number ~ '[^0-9+]' THEN NULL
                        WHEN p.number LIKE '+%' THEN substr(p.number, 2)
                        WHEN p.number LIKE '00%' THEN substr(p.number, 3)
                        -- What is dialled before a national number; where it is no zero, or the zero is part of the number.
                        ELSE p.country || CASE WHEN p.country IN ('39', '378', '379') THEN p.number
                                               WHEN p.country = '1' THEN regexp_replace(p.number, '^1(?=[0-9]{10}$)', '')
                                               WHEN p.country = '7' THEN regexp_replace(p.number, '^8(?=[0-9]{10}$)', '')
                                               WHEN p.country = '36' THEN regexp_replace(p.number, '^06', '')
                                               WHEN p.country = '370' THEN regexp_replace(p.number, '^[08](?=[0-9]{8}$)', '')
                                               WHEN p.country = '375' THEN regexp_replace(p.number, '^80?(?=[0-9]{9}$)', '')
                                               ELSE ltrim(p.number, '0') END END AS digits
              FROM (SELECT regexp_replace(replace(phone, '(0)', ''), '[[:space:]()./-]', '', 'g') AS number, nullif(ltrim(country_code, '+0'), '') AS country) AS p) AS n
$$;
COMMENT ON FUNCTION lifecycle.normalize_phone(text, text, text) IS 'A telephone number as an ad platform wants it before hashing: E.164, for meta without the +. A national number needs the country_code, such as 49. NULL: not a number, or of an unknown country';

CREATE FUNCTION lifecycle.audience(segment text, platform text DEFAULT 'google', country_code text DEFAULT NULL)
    RETURNS TABLE (customer_id text, email_sha256 text, phone_sha256 text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF platform NOT IN ('google', 'meta') THEN
        RAISE EXCEPTION 'ad platform "%" is not known', platform
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use google or meta.';
    END IF;
    IF NOT EXISTS (SELECT FROM lifecycle.segment AS s WHERE s.name = audience.segment) THEN
        RAISE EXCEPTION 'segment "%" does not exist', audience.segment USING ERRCODE = 'undefined_object';
    END IF;
    RETURN QUERY
        SELECT a.customer_id, encode(sha256(convert_to(a.email, 'UTF8')), 'hex'), encode(sha256(convert_to(a.phone, 'UTF8')), 'hex')
          FROM (SELECT c.customer_id, lifecycle.normalize_email(c.email, audience.platform) AS email,
                       lifecycle.normalize_phone(c.phone, audience.country_code, audience.platform) AS phone
                  FROM lifecycle.members(audience.segment) AS m JOIN lifecycle.customer AS c USING (customer_id)
                 WHERE c.ads_consent = 'granted') AS a
         WHERE a.email IS NOT NULL OR a.phone IS NOT NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.audience(text, text, text) IS 'The members of a segment at this instant who have consented to ads, as google or meta take them: addresses and numbers normalised, SHA-256, in lower-case hexadecimal';
