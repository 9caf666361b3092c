/** Where the things lie that no query may reach. */
export interface Targets {
  /** A file with a secret in it. */
  readonly file: string;
  /** A folder in which nothing may appear. */
  readonly folder: string;
  /** http://127.0.0.1:port of a listener that counts connections. */
  readonly url: string;
}

/** Statements that change, read or tell what they may not, as they stand. */
export function statements({ file, folder, url }: Targets): readonly string[] {
  const host = url.slice("http://".length);
  return [
    "INSERT INTO sae.features SELECT * FROM sae.features", "INSERT INTO mistral_sae.features (index_id) VALUES (1)", `INSERT INTO FUNCTION file('${folder}/out.csv', 'CSV', 'a UInt8') SELECT 1`,
    `INSERT INTO FUNCTION url('${url}/x', 'CSV', 'a UInt8') SELECT 1`, `INSERT INTO TABLE FUNCTION remote('${host}', a.b) SELECT 1`, "CREATE TABLE sae.t (a UInt8) ENGINE = Memory", "CREATE TEMPORARY TABLE t (a UInt8)",
    "CREATE VIEW sae.v AS SELECT 1", "CREATE OR REPLACE VIEW sae.features AS SELECT 1", "CREATE MATERIALIZED VIEW sae.m ENGINE = Memory AS SELECT 1", `CREATE TABLE sae.u (a String) ENGINE = URL('${url}/x', 'CSV')`,
    `CREATE TABLE sae.f (a String) ENGINE = File(CSV, '${folder}/out.csv')`, "CREATE DATABASE x", "CREATE FUNCTION f AS x -> file(x)", "CREATE USER u", "CREATE ROLE r", "CREATE NAMED COLLECTION n AS a = 1", "CREATE DICTIONARY sae.d (a UInt8) PRIMARY KEY a SOURCE(NULL()) LAYOUT(FLAT())",
    "DROP VIEW sae.features", "DROP DATABASE sae", "DROP TABLE mistral_sae.postings", "DROP USER analyst", "TRUNCATE TABLE mistral_sae.features", "DETACH VIEW sae.features", `ATTACH TABLE sae.a FROM '${folder}' (a UInt8) ENGINE = MergeTree ORDER BY a`, "RENAME TABLE sae.features TO sae.g",
    "EXCHANGE TABLES sae.features AND sae.documents", "ALTER TABLE mistral_sae.postings DELETE WHERE 1", "ALTER TABLE mistral_sae.postings DROP PARTITION ID '1'", "ALTER USER analyst SETTINGS readonly = 0", "ALTER TABLE sae.features MODIFY QUERY SELECT 1",
    "UPDATE mistral_sae.features SET n_firings = 0 WHERE 1", "DELETE FROM mistral_sae.features WHERE 1", "OPTIMIZE TABLE mistral_sae.features FINAL", `BACKUP DATABASE sae TO File('${folder}/b')`, `RESTORE DATABASE sae FROM File('${folder}/b')`, "UNDROP TABLE sae.features",
    "GRANT ALL ON *.* TO analyst", "REVOKE SELECT ON sae.* FROM analyst", "SET readonly = 0", "SET max_execution_time = 0", "SET ROLE ALL", "SET DEFAULT ROLE ALL TO analyst", "USE mistral_sae", "USE system", "KILL QUERY WHERE 1", "KILL MUTATION WHERE 1 SYNC", "SYSTEM SHUTDOWN", "SYSTEM STOP LISTEN HTTP",
    "SYSTEM FLUSH LOGS", "SYSTEM DROP MARK CACHE", "SYSTEM RELOAD CONFIG", "SYSTEM STOP MERGES", "CHECK TABLE mistral_sae.features", "CHECK GRANT SELECT ON system.users", "EXECUTE AS owner SELECT 1", "EXECUTE IMMEDIATE 'SELECT 1'", "BEGIN TRANSACTION", "COMMIT", "MOVE USER analyst TO x",
    "SHOW DATABASES", "SHOW TABLES FROM system", "SHOW TABLES FROM mistral_sae", "SHOW FULL TABLES FROM information_schema", "SHOW CREATE TABLE system.users", "SHOW CREATE VIEW sae.features", "SHOW CREATE DATABASE sae", "SHOW PROCESSLIST", "SHOW GRANTS", "SHOW USERS", "SHOW SETTINGS LIKE '%'", "SHOW FUNCTIONS", "SHOW ENGINES",
    "SHOW CLUSTERS", "SHOW ACCESS", "SHOW PROFILES", "SHOW QUOTA", "SHOW DICTIONARIES", "SHOW COLUMNS FROM users FROM system", "SHOW INDEX FROM system.users", "SHOW SETTING max_threads", "SHOW FILESYSTEM CACHES", "SHOW MERGES", "SHOW NAMED COLLECTIONS", "SHOW CHANGED SETTINGS",
    "DESCRIBE system.users", "DESCRIBE TABLE system.processes", `DESCRIBE TABLE file('${file}')`, `DESC url('${url}/x', 'CSV')`, `DESCRIBE s3('${url}/b/x.csv')`, "EXISTS TABLE system.users", "EXPLAIN SELECT * FROM system.users", "EXPLAIN AST INSERT INTO a VALUES", "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:3306', 'a', 'b', 'c', 'd') a",
    "EXPLAIN CURRENT TRANSACTION", `EXPLAIN SELECT file('${file}')`, `EXPLAIN SYNTAX SELECT * FROM url('${url}/x', 'CSV')`, `SELECT 1 INTO OUTFILE '${folder}/out'`, `SELECT 1 INTO OUTFILE '${folder}/out' TRUNCATE FORMAT CSV`, `SELECT * FROM features INTO OUTFILE '${folder}/out' AND STDOUT`, "SELECT 1 FORMAT Native",
    "SELECT 1 FORMAT Null", "SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS max_execution_time = 0, max_memory_usage = 0", "SELECT 1 PARALLEL WITH SELECT 2", "WATCH sae.features", "COPY a TO b", "PREPARE a AS SELECT 1", "CALL a()", "VALUES (1)", "(SELECT 1); DROP VIEW sae.features", "SELECT 1;; SELECT 2", "TABLE system.users",
  ]; // prettier-ignore
}

/** Expressions that read files, settings, other tables or the server. */
export function expressions({ file, url }: Targets): readonly string[] {
  return [
    `file('${file}')`, `file('${file}', 'none')`, `arrayMap(file, ['${file}'])`, `arrayFilter(file, ['${file}'])`, `arrayMap(x -> file(x), ['${file}'])`, `mapApply((k, v) -> (k, file(v)), map('a', '${file}'))`, `arrayFold((a, x) -> concat(a, file(x)), ['${file}'], '')`, `initializeAggregation('any', file('${file}'))`,
    `upper(FILE('${file}'))`, `\`file\`('${file}')`, `"file"('${file}')`, `\`fi\\x6ce\`('${file}')`, `"f\\x69le"('${file}')`, `\u201cfile\u201d('${file}')`, `\u201cfi\\x6ce\u201d('${file}')`, `\uff46ile('${file}')`, `fi\u200ble('${file}')`, `{f:Identifier}('${file}')`, "{f:Identifier}", `transform('${file}', [''], [''], file('${file}'))`,
    "getSetting('readonly')", "getSettingOrDefault('max_threads', 0)", "getServerSetting('max_server_memory_usage')", "getMergeTreeSetting('index_granularity')", "getMacro('shard')", "getServerPort('http_port')", "getClientHTTPHeader('Authorization')", "globalVariable('version')", "@@version", "@@max_allowed_packet",
    "hostName()", "fqdn()", "version()", "uptime()", "currentUser()", "user()", "authenticatedUser()", "currentProfiles()", "currentRoles()", "currentDatabase()", "currentSchemas(true)", "serverUUID()", "displayName()", "tcpPort()", "buildId()", "revision()", "getOSKernelVersion()", "connectionId()", "queryID()", "zookeeperSessionUptime()",
    "filesystemAvailable()", "filesystemCapacity('default')", "filesystemUnreserved()", "showCertificate()", "hasColumnInTable('system', 'users', 'name')", "dictGet('sae.d', 'a', 1)", "dictGetOrDefault('system.d', 'a', 1, 0)", "dictHas('d', 1)", "dictGetHierarchy('d', 1)", "dictIsIn('d', 1, 2)", "joinGet('mistral_sae.postings', 'n', 1)",
    "joinGetOrNull('system.users', 'name', 1)", `catboostEvaluate('${file}', 1)`, "evalMLMethod(1, 2)", "naiveBayesClassifier('a', 'b')", "regionToName(1)", "addressToLine(1)", "addressToSymbol(1)", "demangle('_Z1fv')", "logTrace('x')", "tid()", "sleep(3)", "sleepEachRow(3)", "aiGenerate('a', 'b')", "aiEmbed('a', 'b')",
    `aes_encrypt_mysql('aes-128-ecb', file('${file}'), '1234567890123456')`, "decrypt('aes-128-ecb', 'a', '1234567890123456')", "encrypt('aes-128-gcm', 'a', 'b', 'c')", "formatRow('Native', 1)", "structureToProtobufSchema('a UInt8', 'M')", "generateRandomStructure(5)", "generateSerialID('/x')", "fuzzQuery('SELECT 1')",
    "CAST(unhex('00'), 'AggregateFunction(sum, UInt64)')", "finalizeAggregation(CAST(unhex('0000ffff') AS AggregateFunction(groupArray, String)))", "arrayReduce('groupArrayState', [1])", "runningAccumulate(sumState(1))", "__getScalar('x')", "__scalarSubqueryResult(1)", "transactionID()", "getSubcolumn(tuple(1), '1')", "lemmatize('en', 'x')",
    "stem('en', 'x')", "synonyms('x', 'y')", "detectLanguage('x')", "icebergTruncate(1, 2)", "throwIf(1, 'x')", "errorCodeToName(1)", "enabledProfiles()", "defaultRoles()", "MACStringToOUI('aa:bb:cc:dd:ee:ff')", "mergeTreePartInfo('all_1_1_0')", `url('${url}/x')`, `URLHash(file('${file}'))`, "readWKTPolygon('x')", "h3ToChildren(1, 15)",
  ]; // prettier-ignore
}

/** What may stand after FROM and reads what it may not. */
export function sources({ file, folder, url }: Targets): readonly string[] {
  const host = url.slice("http://".length);
  return [
    "system.users", "system.processes", "system.tables", "system.settings", "system.functions", "system.databases", "system.one", "system.numbers", "system.columns", "system.parts", "system.disks", "system.query_log", "system.errors", "system.clusters", "system.contributors", "system.time_zones", "system.formats", "system.table_functions",
    "SYSTEM.users", '"system"."users"', "`system`.users", "system . users", "system/**/./**/settings", "\u201csystem\u201d.\u201csettings\u201d", '"sys\\x74em".settings', "INFORMATION_SCHEMA.tables", "information_schema.columns", "mistral_sae.postings", "mistral_sae.documents", "mistral_sae.index_names", "mistral_sae.schema_migrations", "`mistral_sae`.`features`",
    "default.x", `default.\`${file}\``, `\`${file}\``, `'${file}'`, `file('${file}')`, `file('${file}', 'LineAsString')`, `file('${file}', 'RawBLOB', 's String')`, `FILE('${file}', LineAsString)`, `file('*', 'LineAsString')`, `fileCluster('c', '${file}')`, `filesystem('${folder}')`, `executable('cat ${file}', 'LineAsString', 's String')`, `sqlite('${file}', 't')`,
    `url('${url}/x', 'LineAsString')`, `url('${url}/{1..9}', CSV)`, `URL('${url}/x')`, `urlCluster('c', '${url}/x')`, `s3('${url}/b/x.csv')`, `s3Cluster('c', '${url}/b/x.csv')`, `gcs('${url}/b/x.csv')`, `oss('${url}/b/x')`, `cosn('${url}/b/x')`, `azureBlobStorage('${url}', 'c', 'b')`, `hdfs('hdfs://${host}/x')`, `iceberg('${url}/b')`, `icebergLocal('${folder}')`,
    `deltaLake('${url}/b')`, `deltaLakeLocal('${folder}')`, `hudi('${url}/b')`, `paimonLocal('${folder}')`, `remote('${host}', system.users)`, `remote('127.0.0.1', system, users)`, `remoteSecure('${host}', a.b)`, `cluster('default', system.users)`, `clusterAllReplicas('default', system, users)`, `mysql('${host}', 'a', 'b', 'c', 'd')`,
    `postgresql('${host}', 'a', 'b', 'c', 'd')`, `mongodb('${host}', 'a', 'b', 'c', 'd', 'a String')`, `redis('${host}', 'a', 'a String')`, `jdbc('${host}', 'a', 'b')`, `odbc('DSN=a', 'b', 'c')`, `ytsaurus('${url}', 'a', 'b', 'c String')`, "merge('system', 'users')", "merge('mistral_sae', '.*')", "merge('.*')", "merge(REGEXP('.*'), '.*')",
    "dictionary('sae.d')", "input('a UInt8')", "loop(features)", "loop('system', 'users')", "generateRandom('a String')", "viewExplain('EXPLAIN', '', (SELECT 1))", "viewIfPermitted(SELECT * FROM system.users ELSE null('name String'))", "view(SELECT * FROM system.users)", `view(SELECT file('${file}'))`, "null('a UInt8')", "fuzzJSON('{}')",
    "fuzzQuery('SELECT 1')", "eval('SELECT 1')", `eval(concat('SELECT fi', 'le(''${file}'')'))`, "mergeTreeIndex('mistral_sae', 'postings')", "mergeTreeProjection(mistral_sae, postings, p)", "mergeTreeAnalyzeIndexes('mistral_sae', 'postings')", "timeSeriesSelector('sae.t', 'x', 1, 2)", "prometheusQuery('sae.t', 'x', 1)", "format(CSV, '1')", "{t:Identifier}",
  ]; // prettier-ignore
}

/** Harmless text that costs what it can. */
export const BOMBS: readonly string[] = [
  "SELECT sum(sipHash64(number)) FROM numbers(100000000000)", "SELECT count() FROM numbers(1000000000) AS a, numbers(1000000000) AS b WHERE a.number = b.number + 1", "SELECT number FROM numbers(100000000000) ORDER BY rand()", "SELECT groupArray(number) FROM numbers(10000000000)", "SELECT uniqExact(number) FROM numbers(100000000000)",
  "SELECT arrayJoin(range(100000000))", "SELECT arrayMap(x -> arrayMap(y -> x * y, range(100000)), range(100000))", "SELECT length(repeat('x', 1000000000))", "SELECT leftPad('x', 1000000000)", "SELECT repeat(repeat('x', 100000), 100000)", "SELECT replaceAll(repeat('a', 1000000), 'a', repeat('b', 1000000))",
  "SELECT sum(arrayJoin(range(number))) FROM numbers(100000000)", "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t", "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + number FROM t, numbers(1000)) SELECT count() FROM t", "SELECT match(repeat('a', 1000000), '(a|aa)+$')",
  "SELECT countMatches(repeat('a', 10000000), '(a*)*b')", "SELECT extractAll(repeat('ab', 5000000), '((a|b)*)*c')", "SELECT repeat('a', 100000) LIKE repeat('%a', 50000)", "SELECT count() FROM numbers(100000000) WHERE toString(number) LIKE '%1%2%3%4%5%6%7%8%9%'", "SELECT ngramDistance(repeat('abc', 10000), repeat('abd', 10000)) FROM numbers(1000000)",
  "SELECT number FROM zeros(100000000000) AS z, numbers(3)", "SELECT * FROM numbers(1) ORDER BY number WITH FILL FROM 0 TO 1000000000000", "SELECT count() FROM activations AS a, activations AS b, activations AS c, activations AS d WHERE a.activation < b.activation AND c.activation < d.activation + a.activation", "SELECT quantileExact(number) FROM numbers(100000000000)",
  "SELECT groupArray(repeat('x', 100000)) FROM numbers(1000000)", "SELECT arrayConcat(range(10000000), range(10000000), range(10000000))", "SELECT arraySort(x -> sipHash64(x), range(50000000))", "SELECT max(length(arrayStringConcat(arrayMap(x -> toString(x), range(10000000)))))", "SELECT number, count() FROM numbers(10000000000) GROUP BY number",
  "SELECT sum(x) OVER (ORDER BY x) FROM (SELECT number AS x FROM numbers(10000000000))", "SELECT factorial(20) FROM numbers(100000000000) WHERE factorial(number % 20) = 3", "SELECT topK(100000)(number) FROM numbers(1000000000)", "SELECT arrayReduce('uniqExact', range(100000000))", "SELECT JSONExtractKeysAndValues(repeat('[', 100000), 'String')",
  "SELECT arrayFilter(x -> x IN (SELECT number FROM numbers(100000000)), range(1000000))", "SELECT splitByRegexp('(a?){50}', repeat('a', 1000000))", "SELECT replaceRegexpAll(repeat('a', 1000000), '(a?){30}a{30}', 'b')", "SELECT mapFromArrays(range(10000000), range(10000000))[5]", "SELECT printf('%1000000000d', 1)", "SELECT generate_series FROM generate_series(0, 100000000000)",
]; // prettier-ignore
