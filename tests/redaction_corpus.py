"""What redaction is measured by: secrets with the place where they stand, and harmless values that look like some.

The secrets are made here from a fixed seed, so that nobody's scanner takes this file for a leak.
"""

from __future__ import annotations

import json
import random
import string
from base64 import b64encode
from typing import Any, NamedTuple

TEXT = ""
"""The channel of what has no key: span names, messages, descriptions."""

HEX = "0123456789abcdef"
LETTERS = string.ascii_letters + string.digits
MULTIPART = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
UPPER = string.ascii_uppercase + string.digits


class Secret(NamedTuple):
    """A value that holds a secret: none of `parts` may leave."""

    channel: str
    value: Any
    parts: tuple[str, ...]


class Harmless(NamedTuple):
    """A value that stays as it is."""

    channel: str
    value: Any


def made(prefix: str, length: int, alphabet: str = LETTERS, suffix: str = "") -> str:
    """A credential that is nobody's, with digits and letters of every kind that the alphabet has."""
    draw = random.Random(f"{prefix}{length}{alphabet}{suffix}")
    return prefix + "".join(draw.choice(alphabet) for _ in range(length - 2)) + "7" + alphabet[-12] + suffix


def password(number: int) -> str:
    """A password that looks like nothing but a word."""
    return f"hunter{number}quail"


def luhn(beginning: str, length: int) -> str:
    """The number of a card that nobody has."""
    body = (beginning + "0123456789" * 2)[: length - 1]
    doubled = [int(digit) * (1 + (index % 2 == 0)) for index, digit in enumerate(reversed(body))]
    return body + str(-sum(digit // 10 + digit % 10 for digit in doubled) % 10)


def _filled(form: str | list[str], secret: str) -> str | list[str]:
    return form.format(secret) if isinstance(form, str) else [each.format(secret) for each in form]


def _named() -> list[Secret]:
    """Secrets that only their name tells."""
    channels_and_forms = [
        ("http.request.header.authorization", "Bearer {}"),
        ("http.request.header.proxy-authorization", "Basic {}"),
        ("http.request.header.cookie", "sid={}; theme=dark"),
        ("http.response.header.set-cookie", "id={}; HttpOnly"),
        ("http.request.header.x-api-key", "{}"),
        ("http.request.header.x_auth_token", "{}"),
        ("http.request.header.x-csrf-token", "{}"),
        ("http.request.header.stripe-signature", "t=1,v1={}"),
        ("http.request.header.x-shopify-hmac-sha256", "{}"),
        ("http.request.header.dpop", "{}"),
        ("http.request.header.referer", "https://shop.example/reset?token={}&lang=en"),
        ("http.response.header.location", "https://shop.example/cb#access_token={}"),
        ("password", "{}"),
        ("user.password", "{}"),
        ("userPassword", "{}"),
        ("PGPASSWORD", "{}"),
        ("db.password", "{}"),
        ("app.secrets.stripe", "{}"),
        ("config.auth_token.value", "{}"),
        ("clientSecret", "{}"),
        ("aws_secret_access_key", "{}"),
        ("twitch.stream_key", "{}"),
        ("session.id", "{}"),
        ("jwt", "{}"),
        ("api-key", "{}"),
        ("x.private_key", "{}"),
        ("passphrase", "{}"),
        ("card_number", "{}"),
        ("security_code", "{}"),
        ("one_time_code", "{}"),
        ("recovery_codes", "{}"),
        ("url.query", "code={}&state=1"),
        ("url.query", "q=tea&api%5Fkey={}"),
        ("url.query", "user[password]={}&user[name]=jo"),
        ("url.query", "next=https%3A%2F%2Fa.example%2F%3Ftoken%3D{}"),
        ("url.full", "https://api.example/v1/items?page=2&access_token={}"),
        ("url.full", "https://jo:{}@api.example/v1/items"),
        (
            "url.full",
            "https://b.s3.amazonaws.com/o.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60&X-Amz-Signature={}",
        ),
        ("url.full", "https://a.blob.core.windows.net/c/b?sv=2022-11-02&se=2030&sr=b&sig={}%3D"),
        ("http.url", "https://cdn.example/v.mp4?Expires=1&Signature={}&Key-Pair-Id=K1"),
        ("http.target", "/login?pwd={}"),
        ("url.path", "/reset-password/{}"),
        ("url.path", "/invite/{}/accept"),
        ("http.request.body.text", '{{"user": {{"name": "jo", "password": "{}"}}}}'),
        ("http.request.body.text", '{{"accounts": [{{"deep": {{"deeper": {{"apiKey": "{}"}}}}}}], "n": 1}}'),
        ("http.request.body.text", '{{"credentials": {{"user": "jo", "value": ["{}", 2]}}, "n": 1}}'),
        ("http.request.body.text", '{{"name": "jo", "password": "{}'),
        ("http.request.body.text", '{{"message": "{{\\"token\\": \\"{}\\", \\"n\\": 1}}"}}'),
        ("http.request.body.text", "user=jo&password={}&remember=1"),
        ("http.request.body.text", "grant_type=authorization_code&code={}"),
        (
            "http.request.body.text",
            MULTIPART.format("user", "jo") + MULTIPART.format("password", "{}") + "--b--",
        ),
        ("http.request.body.text", "<login><user>jo</user><password>{}</password></login>"),
        ("http.request.body.text", '[{{"name": "DB_PASSWORD", "value": "{}"}}]'),
        (
            "http.response.body.text",
            '{{"detail":[{{"type":"string_too_short","loc":["body","password"],"msg":"too short","input":"{}"}}]}}',
        ),
        ("db.statement", "AUTH {}"),
        ("db.query.text", "AUTH default {}"),
        ("db.query.text", "HELLO 3 AUTH default {} SETNAME web"),
        ("db.statement", "CONFIG SET requirepass {}"),
        ("db.statement", "MIGRATE 10.0.0.1 6379 k 0 5000 COPY AUTH {}"),
        ("db.statement", "MIGRATE 10.0.0.1 6379 k 0 5000 AUTH2 default {} KEYS k"),
        ("db.statement", "ACL SETUSER alice on >{} ~* +@all"),
        ("db.query.text", "SELECT * FROM users WHERE name = '{}'"),
        ("db.query.text", "INSERT INTO users (name, pass) VALUES ('jo', '{}'), (E'a\\'b', 'c')"),
        ("db.statement", "UPDATE users SET note = $tag${}$tag$ WHERE id = 4"),
        ("db.statement", "SELECT 1 FROM t WHERE a IN ('x', 'it''s {}', N'y')"),
        ("db.statement", "SELECT 1 /* asked by {} */ FROM t"),
        ("db.statement", "SELECT 1 FROM t -- {}"),
        ("db.statement", "CREATE USER jo IDENTIFIED BY '{}'"),
        ("db.statement", 'SELECT * FROM users WHERE name = "{}"'),
        ("db.statement", 'INSERT INTO users VALUES (1, "a", "{}")'),
        ("db.statement", 'SELECT 1 FROM users WHERE name IN ("jo", "{}") ORDER BY "id"'),
        ("db.query.parameter.0", "{}"),
        ("messaging.celery.kwargs", "{{'user': 'jo', 'password': '{}'}}"),
        ("celery.args", "[('token', '{}'), 3]"),
        ("process.command_line", "worker --password {} --concurrency 4"),
        ("process.command_args", "['worker', '--api-key', '{}', '-v']"),
        ("process.command_args", ["worker", "--api-key", "{}"]),
        ("process.command_args", ["/usr/bin/mysql", "-u", "root", "-p{}"]),
        (TEXT, "Command '['mysql', '-p{}']' returned 1"),
        (TEXT, "Command '['curl', '-u', 'jo:{}']' returned 1"),
        (TEXT, "Command # 1 (LPUSH key {}) of pipeline caused error: WRONGTYPE"),
        (TEXT, "Command # 2 (SET session:1 {}) of pip"),
        (TEXT, "unknown command 'HSETX', with args beginning with: 'user:1' 'pw' '{}' "),
        (TEXT, "unknown command `FOO`, with args beginning with: `{}`, "),
        (TEXT, 'd["password"] = "{}"'),
        (TEXT, "os.environ['API_KEY'] = '{}'"),
        (TEXT, "    password: str = '{}'"),
        (TEXT, "password='''{}'''"),
        (TEXT, "if password != '{}':"),
        (TEXT, "Invalid API key provided: {}"),
        (TEXT, "Your verification code is {}"),
        (TEXT, 'value "{}" is out of range for type integer'),
        (TEXT, 'date/time field value out of range: "{}"'),
        (TEXT, 'malformed array literal: "{}"'),
        (TEXT, "invalid literal for int() with base 10: '{}'"),
        (TEXT, 'CONTEXT:  COPY users, line 3, column name: "{}"'),
        ("http.request.body.text", '{{"pa\\u0073sword": "{}", "n": 1}}'),
        ("http.request.body.text", '--b\r\ncontent-disposition: FORM-DATA; NAME="password"\r\n\r\n{}\r\n--b--'),
        ("server.dsn", "redis://:{}@cache.example:6379/0"),
        (TEXT, "could not connect to postgresql+asyncpg://shop:{}@db.example/shop"),
        (TEXT, "cut off at mongodb+srv://shop:{}"),
        (TEXT, "login failed: password={} for jo"),
        (TEXT, "login failed: password: {}, user: jo"),
        (TEXT, "config {{'db': {{'passwd': '{}', 'host': 'db'}}}}"),
        (TEXT, "Settings(host='db', secret_key='{}', debug=False)"),
        (TEXT, "headers [(b'host', b'a'), (b'authorization', b'Basic {}')]"),
        (TEXT, "Server=db;Uid=jo;Password={};Encrypt=yes"),
        (TEXT, "the API key: {} was refused"),
        (TEXT, "the password is {} by the way"),
        (TEXT, "curl -H 'Authorization: Token {}' https://api.example"),
        (TEXT, "GET /unsubscribe/{} HTTP/1.1"),
        (TEXT, "password '{}' was refused"),
        (TEXT, "the token {} has expired"),
        (TEXT, "curl -u jo:{} https://api.example"),
        (TEXT, "shop:{}@tcp(db.example:3306)/shop"),
        (TEXT, "password -> {}"),
        (TEXT, "export DATABASE_PASSWORD={}"),
        (TEXT, "HTTPStatusError: 401 for url 'https://api.example/x?api_key={}'"),
        ("http.response.body.text", '<input type="text" name="csrf_token" value="{}">'),
        ("http.request.body.text", '{{"query": "mutation {{ login(password: \\"{}\\") }}"}}'),
        (TEXT, "Redis said no to AUTH default {}"),
        (TEXT, "Cookie: theme=dark; sessionid={}"),
        (
            TEXT,
            "UNIQUE failed: a.b\n[SQL: INSERT INTO users VALUES (?)]\n[parameters: ('{}',)]\n(Background on this error",
        ),
        (TEXT, "(psycopg.errors.X) no\n[SQL: SELECT * FROM users WHERE name = '{}']\n(Background on this error at: x)"),
        (TEXT, 'duplicate key value violates "users_key"\nDETAIL:  Key (email)=({}@a.example) already exists.'),
        (TEXT, "null value violates not-null\nDETAIL:  Failing row contains (1, {}, null)."),
        (TEXT, "(1062, \"Duplicate entry '{}' for key 'users.name'\")"),
        (TEXT, 'invalid input syntax for type integer: "{}"'),
        (TEXT, "invalid input for query argument $1: '{}' (an integer is required)"),
        (TEXT, "syntax error\nLINE 1: SELECT * FROM users WHERE name = '{}' AND\n      ^"),
        (
            TEXT,
            "1 validation error\npassword\n  Too short [type=string_too_short, input_value='{}', input_type=str]",
        ),
    ]
    return [
        Secret(channel, _filled(form, password(number)), (password(number),))
        for number, (channel, form) in enumerate(channels_and_forms, 100)
    ]


def _shapes() -> list[str]:
    """Credentials that are told by their looks."""
    url_safe = LETTERS + "_-"
    return [
        ".".join((made("eyJ", 20, url_safe), made("eyJ", 40, url_safe), made("", 43, url_safe))),
        made("AKIA", 16, UPPER),
        made("ASIA", 16, UPPER),
        made("ghp_", 36),
        made("gho_", 36),
        made("github_pat_", 60),
        made("glpat-", 20, url_safe),
        made("xoxb-123456789012-1234567890123-", 24),
        made("xapp-1-A0123-456-", 40, HEX),
        made("sk_" + "live_", 24),
        made("rk_" + "live_", 24),
        made("sk_" + "test_", 24),
        made("whsec_", 32),
        made("AIza", 35, url_safe),
        made("ya29.", 60, url_safe),
        made("GOCSPX-", 28, url_safe),
        made("sk-", 48),
        made("sk-proj-", 60, url_safe),
        made("sk-ant-api03-", 80, url_safe),
        made("SG.", 22, url_safe) + "." + made("", 43, url_safe),
        made("SK", 32, HEX),
        made("npm_", 36),
        made("pypi-AgEIcHlwaS5vcmc", 60, url_safe),
        made("pylf_v1_us_", 43),
        made("dop_v1_", 64, HEX),
        made("shpat_", 32, HEX),
        made("hvs.", 24, url_safe),
        made("glsa_", 32) + "_0a1b2c3d",
        made("hf_", 34),
        made("gsk_", 52),
        made("lin_api_", 40),
        made("ntn_", 43),
        made("", 32, HEX) + "-us14",
        made("key-", 32, HEX),
        "1234567890:AA" + made("", 33, url_safe),
        made("dapi", 32, HEX),
        made("dckr_pat_", 27, url_safe),
        made("ATATT3xFfGF0", 60, url_safe),
        made("xkeysib-", 64, HEX),
        made("figd_", 40, url_safe),
        made("live_123456789_", 30),
        "oauth:" + made("", 30, string.ascii_lowercase + string.digits),
        "https://hooks.slack.com/services/" + made("T", 10, UPPER) + "/" + made("B", 10, UPPER) + "/" + made("", 24),
        "https://discord.com/api/webhooks/123456789012345678/" + made("", 68, url_safe),
        made("", 86, LETTERS + "+/") + "==",
        luhn("4242", 16),
        " ".join(luhn("4000", 16)[at : at + 4] for at in range(0, 16, 4)),
        "-".join(luhn("5555", 16)[at : at + 4] for at in range(0, 16, 4)),
        luhn("3782", 15),
        luhn("6011", 16),
        luhn("3056", 14),
        "078-05-1120",
    ]


def _shaped() -> list[Secret]:
    places = [(TEXT, "sent {} to the shop"), ("note", "{}"), ("http.request.body.text", '{{"note": "{}", "n": 1}}')]
    shaped = [
        Secret(channel, form.format(shape), (shape,))
        for number, shape in enumerate(_shapes())
        for channel, form in (places[number % len(places)], places[(number + 1) % len(places)])
    ]
    key_id, aws_secret = made("AKIA", 16, UPPER), made("wJalrXUtnFEMI/K7", 24)
    encoded = b64encode(b"jo:hunter2quail").decode()
    key = made("MIIEvQ", 64) + "\n" + made("", 64)
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----"
    bare = luhn("4111", 16)
    token = made("", 43, LETTERS)
    return [
        *shaped,
        Secret(TEXT, f"found {key_id} {aws_secret} in the environment", (key_id, aws_secret)),
        Secret("note", f"Bearer {token}", (token,)),
        Secret(TEXT, f"sent Basic {encoded} along", (encoded,)),
        Secret("note", pem, tuple(key.split("\n"))),
        Secret("http.request.body.text", json.dumps({"pem": pem, "n": 1}), tuple(key.split("\n"))),
        Secret(TEXT, pem[:100], (pem[40:100],)),
        Secret("http.request.body.text", f'{{"number": {bare}, "n": 1}}', (bare,)),
        Secret("number", int(bare), (bare,)),
        Secret("url.path", f"/downloads/{token}/video.mp4", (token,)),
        Secret("url.full", f"https://api.example/downloads/{token}?a=1", (token,)),
        Secret("notes", ["fine", f"Bearer {token}"], (token,)),
        Secret("pin", 48151623, ("48151623",)),
        Secret("http.request.body.text", '{"pin": 48151623, "n": 1}', ("48151623",)),
        Secret("secrets", [password(1), password(2)], (password(1), password(2))),
    ]


SECRETS = (*_named(), *_shaped())

HARMLESS = tuple(
    Harmless(*each)
    for each in [
        ("author", "Jane Roe"),
        ("authors", ["Jane Roe", "John Doe"]),
        ("authority", "shop.example"),
        ("session_count", 12),
        ("active_sessions", 3),
        ("token_count", 512),
        ("gen_ai.usage.input_tokens", 512),
        ("gen_ai.token.type", "input"),
        ("gen_ai.request.max_tokens", 1024),
        ("has_password", True),
        ("password_reset_at", "2026-11-23T10:00:00Z"),
        ("token_type", "opaque"),
        ("tldr.api_key.id", "key-7"),
        ("tldr.organization.id", "acme"),
        ("api_key_id", "k7"),
        ("secretary", "Jane Roe"),
        ("passport_office", "Dover"),
        ("compass", "north"),
        ("tokenizer", "cl100k_base"),
        ("monkey", "capuchin"),
        ("primary_key", "id"),
        ("partition_key", "acme#2026"),
        ("cache_key", "items:7"),
        ("idempotency_key", "7"),
        ("aws.s3.key", "videos/2026/11/session-notes.mp4"),
        ("aws.s3.bucket", "tokens-and-keys"),
        ("messaging.message.id", made("eyJ", 30) + "." + made("", 30)),
        ("messaging.rabbitmq.destination.routing_key", "celery"),
        ("http.route", "/tokens/{id}"),
        ("http.route", "/reset-password/{token}"),
        ("url.path", "/tokens/42"),
        ("url.path", "/sessions/550e8400-e29b-41d4-a716-446655440000"),
        ("url.path", "/commit/2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"),
        ("url.path", "/articles/Why-The-Secretary-Keeps-Keys-In-2026"),
        ("url.path", "/static/AwkwardHelplessSalamanderSwiftRage.mp4"),
        ("url.query", "page=2&sort_key=name&author=jo&tokens=5"),
        ("url.full", "https://shop.example:8443/@jo/authors?page=2#section"),
        ("http.request.header.idempotency-key", "order-7"),
        ("http.request.header.content-type", "application/json"),
        ("http.request.header.user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("http.request.body.text", '{"author": "jo", "session_count": 2, "max_tokens": 100, "key": "C major"}'),
        ("logfire.json_schema", '{"type":"object","properties":{"password":{"type":"string"},"token":{}}}'),
        ("logfire.msg_template", "login of {user} with {password=}"),
        ("code.function", "reset_password"),
        ("code.filepath", "shop/token=auth.py"),
        ("db.query.text", "SELECT id, token, password FROM users WHERE id = $1 AND password = %s AND t = :token"),
        ("db.query.text", 'SELECT "user"."password" FROM "user" WHERE "user"."id" = %(id_1)s'),
        ("trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("commit", "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"),
        ("digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("version", "1.45.1-rc.2+build.20261123"),
        ("time_ns", 1732389123456789012),
        ("order", "order 4242-1111"),
        ("order_number", 4242424242424241),
        (TEXT, "the secretary of the author went to the passport office"),
        (TEXT, "reset the password of 3 users in 12 sessions"),
        (TEXT, "Basic information about bearer certificates"),
        (TEXT, "Invalid token"),
        (TEXT, "used 512 tokens, total_tokens=512, token_count=3"),
        (TEXT, "POST /tokens/{id}"),
        (TEXT, "GET /tokens/42 HTTP/1.1 200"),
        (TEXT, "key=value, primary_key: 7, monkey: 3"),
        (TEXT, "password=None, token=null, secret='***'"),
        (TEXT, "started at 2026-11-23 10:00:00.123456 with id 550e8400-e29b-41d4-a716-446655440000"),
        (TEXT, "status 404, code=404, jo@shop.example, 200 15 1024, tel +44 20 7946 0958"),
        (TEXT, "    def login(self, password: str, token: str) -> None:\n        self.connect(password=password)"),
        (TEXT, "(sqlite3.OperationalError) no such table: users\n[SQL: SELECT id FROM users WHERE id = ?]"),
        (TEXT, "task sk-learn-training-of-many-models done in disk-and-task-runner"),
        (TEXT, "password: must be longer, token: expired"),
        (TEXT, "NOAUTH Authentication required."),
        ("http.request.body.text", '{"tags":["auth","video","hls"],"oauth":false,"auth":true,"session":42}'),
        ("tags", ["auth", "video"]),
        ("user.auth", "google"),
        ("encoder.pass", 2),
        ("url.full", "https://www.youtube.com/channel/UC-lHJZR3Gqxm24_Vd_AJ5Yw"),
        ("url.full", "https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC"),
        ("url.full", "https://shop.example/cart?code=SUMMER24"),
        ("url.path", "/hls/seg_1080p_00042_V1a2B3c4D5e6.ts"),
        ("url.path", "/p/3xRt5Yq8Zb1Nc7Vm2Kd9Lw.jpg"),
        ("url.path", "/verify/stream-77"),
        ("url.path", "/reset/player1"),
        ("url.path", "/share/highlight-2024-final-cut"),
        ("url.path", "/sessions/live-2024-final-edition1"),
        (TEXT, "AUTH service started"),
        (TEXT, "AUTH OK"),
        (TEXT, "AUTH error: timeout"),
        (TEXT, "pass=2 crf=23 preset=slow"),
        (TEXT, "ffmpeg -pass 1 -passlogfile /tmp/x -i in.mp4"),
        (TEXT, "session: opened, signature=v2, otp: enabled"),
        (TEXT, "token = get_token()"),
        (TEXT, "session = Session(engine)"),
        (TEXT, "cookie = request.cookies.get('a')"),
        (TEXT, "session: AsyncSession = Depends(get_session)"),
        (TEXT, "token: Token"),
        (TEXT, "headers = {'Authorization': f'Bearer {token}'}"),
        (TEXT, "InvalidTokenError: Signature verification failed"),
        (TEXT, "phone 555-12-3456, SKU 123-45-6789"),
    ]
)
