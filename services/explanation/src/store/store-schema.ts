/** Tables of the explanation store. Messages are protobuf bytes, times Unix milliseconds, money USD. */
export const storeSchema = `
create table if not exists explanations (
  sae text not null,
  feature integer not null,
  id text not null,
  message blob not null,
  status integer not null,
  version text not null,
  operation text,
  create_ms integer not null,
  primary key (sae, feature, id)
) strict, without rowid;
create table if not exists scores (
  sae text not null,
  feature integer not null,
  explanation text not null,
  id text not null,
  message blob not null,
  operation text,
  primary key (sae, feature, explanation, id),
  foreign key (sae, feature, explanation) references explanations (sae, feature, id) on delete cascade
) strict, without rowid;
create table if not exists votes (
  sae text not null,
  feature integer not null,
  explanation text not null,
  rater text not null,
  vote integer not null,
  comment text not null,
  update_ms integer not null,
  primary key (sae, feature, explanation, rater),
  foreign key (sae, feature, explanation) references explanations (sae, feature, id) on delete cascade
) strict, without rowid;
create table if not exists paid_calls (
  seq integer primary key autoincrement,
  operation text,
  feature text not null,
  task text not null,
  endpoint text not null,
  model text not null,
  prompt_tokens integer not null,
  completion_tokens integer not null,
  cost_usd real not null,
  create_ms integer not null
) strict;
create index if not exists paid_calls_by_operation on paid_calls (operation);
`;
