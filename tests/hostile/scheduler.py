"""Attacks on what guilds share: the scheduler, the mailboxes, the log (threats D and E), and what a template can
do to itself with its own threads."""

CHECKS = []
