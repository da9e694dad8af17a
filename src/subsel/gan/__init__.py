"""Generative adversarial networks that subgradient selection is studied on.

Needs the extra: ``pip install subsel[gan]``. Import its modules by name; nothing of
this folder is imported by ``subsel`` itself.
"""
