-- Gives the store's user the password that is in its secret: see docs/deploy.md.
\set new `cat /run/secrets/postgres_password`
ALTER ROLE hpo PASSWORD :'new';
