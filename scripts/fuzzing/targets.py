"""All targets by their names."""

from fuzzing import agi_bytes, commands, config_text, millis_answers, session, sip_uri

TARGETS = {
    module.TARGET.name: module.TARGET for module in (agi_bytes, commands, session, millis_answers, sip_uri, config_text)
}
