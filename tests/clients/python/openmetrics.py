"""Reads OpenMetrics text from standard input with the strict parser and prints the families as JSON, name to type."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(sys.stdin.read()))
without_help = [family.name for family in families if not family.documentation]
print(json.dumps({"families": {family.name: family.type for family in families}, "without_help": without_help}))
