-- The views of the feature index over a folder that ExportParquet wrote, for DuckDB; run it in that folder.
CREATE OR REPLACE VIEW indexes AS FROM 'indexes.parquet';
CREATE OR REPLACE VIEW activations AS SELECT i.index_id, i.index_name, i.sae, i.corpus, a.feature_index, i.context_size, a.sequence_id, a.token_index, a.is_special, a.activation FROM 'activations-*.parquet' AS a CROSS JOIN indexes AS i;
CREATE OR REPLACE VIEW features AS SELECT i.index_id, f.* FROM 'features.parquet' AS f CROSS JOIN indexes AS i;
CREATE OR REPLACE VIEW documents AS SELECT i.corpus, d.* FROM 'documents.parquet' AS d CROSS JOIN indexes AS i;
CREATE OR REPLACE VIEW sequences AS SELECT i.corpus, s.* FROM 'sequences.parquet' AS s CROSS JOIN indexes AS i;
CREATE OR REPLACE VIEW tokens AS SELECT i.index_name, t.* FROM 'tokens.parquet' AS t CROSS JOIN indexes AS i;
CREATE OR REPLACE VIEW explanations AS SELECT i.sae, e.* FROM 'explanations.parquet' AS e CROSS JOIN indexes AS i;
