-- An index is merged whole once all of it is there. Before, parts are merged only so that they do not become too many: merging
-- a few at a time would write every activation several times while it is being loaded.

ALTER TABLE {{tables}}.postings {{on_cluster}} MODIFY SETTING min_parts_to_merge_at_once = 32;
