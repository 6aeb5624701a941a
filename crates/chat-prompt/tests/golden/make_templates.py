"""Writes templates.json: chat templates of several shapes (written for this test), rendered by
transformers on several conversations, or the error they raise. Needs transformers and jinja2.
"""
import json
from importlib.metadata import version
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = {
    "block tags on their own lines": (
        "{% for m in messages %}\n"
        "    {% if m['role'] == 'user' %}\n"
        "U: {{ m['content'] }}\n"
        "    {% else %}\n"
        "A: {{ m.content }}\n"
        "    {% endif %}\n"
        "{% endfor %}\n"
    ),
    "minus signs": "{%- for m in messages -%}\n  [{{- m.role -}}] {{ m.content | trim }}\n{%- endfor -%}\n\n",
    "python methods": (
        "{% for m in messages %}{{ m['content'].strip() }}|{{ m.content.split('\\n')[-1].lstrip('x') }}|"
        "{{ m.content.upper() }}|{{ m.content.startswith('H') }}|{{ m.get('name') }}|"
        "{{ m.content.replace('i', '!') }};{% endfor %}"
    ),
    "tojson": (
        "{{ messages | tojson }}{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
        "{{ {'a': [1, 2.5, true, none, \"<&'\"], 'b': {}} | tojson(indent=2) }}"
    ),
    "constants": "{{ none }} {{ true }} {{ false }} {{ add_generation_prompt }} {{ tools is none }} {{ 1 == 1.0 }}",
    "alternation": (
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate, found ' + m['role']) }}{% endif %}"
        "{{ bos_token + m['content'] + eos_token }}{% endfor %}"
    ),
    "namespace and slices": (
        "{% set ns = namespace(system='', n=0) %}{% if messages[0].role == 'system' %}"
        "{% set ns.system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}"
        "{% endif %}{{ ns.system }}{% for m in rest %}{% set ns.n = ns.n + 1 %}{{ ns.n }}:{{ m.content }}"
        "{{ '' if loop.last else ', ' }}{% endfor %}{{ rest | length }} {{ rest[::-1][0].role }}"
    ),
    "loop controls and macros": (
        "{% macro turn(m, end='.') %}<{{ m.role }}>{{ m.content }}{{ end }}{% endmacro %}"
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ turn(m, end='!') }}{% endfor %}"
        "{% if tools %}no{% endif %}{% if missing is defined %}no{% endif %}{{ missing }}"
    ),
    "html stays": "{% for m in messages %}{{ m.content }} {{ '<b>&' }}{% endfor %}",
}
CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "user", "content": "  Hi there \n <b>\"quoted\"</b> & 'é' \\ 🦙\n"}, {"role": "assistant", "content": ""}],
    [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "x\nxxHi"}],
]

cases = []
for name, template in TEMPLATES.items():
    for messages in CONVERSATIONS:
        case = {"name": name, "template": template, "messages": messages}
        try:
            rendered, _ = render_jinja_template(
                conversations=[messages],
                chat_template=template,
                add_generation_prompt=True,
                bos_token="<s>",
                eos_token="</s>",
            )
            case["text"] = rendered[0]
        except Exception as error:
            case["error"] = str(error)
        cases.append(case)
made_by = ", ".join(f"{p} {version(p)}" for p in ["transformers", "jinja2"])
out = Path(__file__).parent / "templates.json"
out.write_text(json.dumps({"made_by": made_by, "cases": cases}, indent=1, ensure_ascii=False) + "\n")
