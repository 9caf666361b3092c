/** Tables of the ledger. Times are Unix milliseconds; messages are protobuf bytes; shards, results and state are JSON. */
export const ledgerSchema = `
create table if not exists operations (
  seq integer primary key autoincrement,
  id text not null unique,
  kind text not null,
  state integer not null,
  stop integer not null default 0,
  request_id text unique,
  input blob not null,
  output blob,
  error blob,
  progress text not null,
  planned integer not null default 0,
  attempts integer not null default 0,
  create_ms integer not null,
  update_ms integer not null
) strict;
create index if not exists operations_by_state on operations (state);
create table if not exists shards (
  seq integer not null references operations on delete cascade,
  shard integer not null,
  input text not null,
  result text,
  attempts integer not null default 0,
  primary key (seq, shard)
) strict, without rowid;
create table if not exists durable_state (
  seq integer not null references operations on delete cascade,
  key text not null,
  value text not null,
  primary key (seq, key)
) strict, without rowid;
`;
