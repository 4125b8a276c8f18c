"""REDIS_URL: one server, or sentinels in the two forms that other programs use."""

from __future__ import annotations

import pytest

from resop.config.redis_address import RedisAddress, read_redis_address

H1, H2, H3 = ("h1", 26379), ("h2", 26380), ("::1", 26379)


def test_address_is_read() -> None:
    pw = "p%40w"
    expected = {
        "redis://r:1/3": RedisAddress("redis://r:1/3"),
        "unix:///run/s": RedisAddress("unix:///run/s"),
        "redis+sentinel://h1/mymaster": RedisAddress("redis://h1:26379", (H1,), "mymaster"),
        "redis+sentinel://h1:26379,h2:26380,[::1]/my.master-1_x/2": RedisAddress(
            "redis://h1:26379/2", (H1, H2, H3), "my.master-1_x"
        ),
        "redis+sentinel://[::1]/m/0": RedisAddress("redis://[::1]:26379/0", (H3,), "m"),
        f"redis+sentinel://u:{pw}@h1,h2:26380/m/0?sentinel_username=s&sentinel_password={pw}": (
            RedisAddress(f"redis://u:{pw}@h1:26379/0", (H1, H2), "m", "s", "p@w")
        ),
        "rediss+sentinel://h1/m/0?ssl_ca_certs=%2Fca.pem&sentinel_password=a%2Bb": RedisAddress(
            "rediss://h1:26379/0?ssl_ca_certs=%2Fca.pem", (H1,), "m", None, "a+b"
        ),
        "sentinel://h1:26379;sentinel://h2:26380/0?master_name=mymaster": RedisAddress(
            "redis://h1:26379/0", (H1, H2), "mymaster"
        ),
        f"sentinel://:{pw}@h1/2;sentinel://:{pw}@h2:26380/2?sentinel_password=x&master_name=m": (
            RedisAddress(f"redis://:{pw}@h1:26379/2", (H1, H2), "m", None, "x")
        ),
        "sentinel://h1/?master_name=m": RedisAddress("redis://h1:26379/", (H1,), "m"),
    }
    for text, address in expected.items():
        assert read_redis_address(text) == address, text
        assert address.tls == text.startswith("rediss"), text


def test_address_that_says_too_little_or_too_much_is_refused_without_its_password() -> None:
    form = "REDIS_URL must be of the form redis+sentinel://"
    refused = {
        "redis+sentinel://h1:26379": form,
        "redis+sentinel://h1:26379/": form,
        "redis+sentinel://h1//0": form,
        "redis+sentinel://h1/m/zero": form,
        "redis+sentinel://h1/m/0/1": form,
        "redis+sentinel:///m/0": form,
        "redis+sentinel://h1,,h2/m/0": form,
        "redis+sentinel://h1,h2:0/m/0": form,
        "redis+sentinel://h1,h2:x/m/0": form,
        "redis+sentinel://:hunter2/@h1/m/0": form,
        "redis+sentinel://:hunter2#@h1/m/0": form,
        "redis+sentinel://:hunter2?@h1/m/0": form,
        "redis+sentinel://h1,:hunter2@h2/m/0": form,
        "redis+sentinel://h1/m/0?master_name=m": "with sentinels, also sentinel_username and",
        "redis+sentinel://h1/m/0?ssl_ca_certs=/ca.pem": "redis:// may have nothing",
        "rediss+sentinel://h1/m/0?ssl_cert_reqs=CERT_REQUIRED": "ssl_cert_reqs must be required",
        "sentinel://h1:26379;sentinel://h2:26379/0": "add ?master_name=MASTER",
        "sentinel://:hunter2@h1;sentinel://:hunter3@h2/0?master_name=m": "one login at most",
        "sentinel://h1;redis://h2/0?master_name=m": form,
    }
    for text, message in refused.items():
        with pytest.raises(ValueError, match="REDIS_URL") as raised:
            read_redis_address(text)
        assert message in str(raised.value), text
        assert "hunter" not in str(raised.value), text
