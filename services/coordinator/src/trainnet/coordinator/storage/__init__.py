"""The SQL state: schema, transactions and migrations."""
