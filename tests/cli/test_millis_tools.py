"""`agi-bridge millis-tools`: what to give an agent at Millis."""

import json

from agi_bridge.cli.exit_code import DONE, MISUSED


def test_tools_need_the_address_by_which_millis_reaches_the_bridge(run, tmp_path, configured):
    """Without public_url there is nothing to print; with it, tools and webhooks are JSON that names it."""
    assert run("millis-tools") == (
        MISUSED,
        "",
        "web.public_url: is missing (the address at which Millis reaches the web port)\n",
    )
    path = tmp_path / "bridge.toml"
    path.write_text(path.read_text().replace("[web]", '[web]\npublic_url = "https://bridge.example"'))
    code, out, err = run("millis-tools")

    assert (code, err) == (DONE, "")
    assert "tools" in json.loads(out)
    assert "https://bridge.example/tools/hangup" in out
