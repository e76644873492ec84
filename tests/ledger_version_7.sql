BEGIN TRANSACTION;
CREATE TABLE adopted ("candidate" TEXT NOT NULL, "key" TEXT NOT NULL, "set" TEXT NOT NULL, "output" TEXT NOT NULL, "width" INTEGER NOT NULL, "height" INTEGER NOT NULL, "reference" TEXT NOT NULL, "local_only" TEXT NOT NULL, PRIMARY KEY (candidate));
CREATE TABLE aligned ("candidate" TEXT NOT NULL, "version" TEXT NOT NULL, "image" TEXT NOT NULL, "reason" TEXT NOT NULL, "model" TEXT NOT NULL, "transform" TEXT NOT NULL, "confidence" REAL, "error" REAL, "support" REAL, "scatter" REAL, "motion" REAL, "improvement" REAL, "offset" REAL, "residual_median" REAL, "residual_p99" REAL, "missing" REAL, "resampled" INTEGER NOT NULL, "colour" TEXT NOT NULL, "colour_before" REAL, "colour_after" REAL, PRIMARY KEY (candidate));
INSERT INTO "aligned" VALUES('c1','align-6','5555555555555555555555555555555555555555555555555555555555555555','','identity','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,0,'[]',NULL,NULL);
INSERT INTO "aligned" VALUES('c2','align-6','5555555555555555555555555555555555555555555555555555555555555555','','identity','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,0,'[]',NULL,NULL);
INSERT INTO "aligned" VALUES('c3','align-6','5555555555555555555555555555555555555555555555555555555555555555','','identity','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,0,'[]',NULL,NULL);
CREATE TABLE call ("id" TEXT NOT NULL, "work" TEXT NOT NULL, "stage" TEXT NOT NULL, "model" TEXT NOT NULL, "started" TEXT NOT NULL, "seconds" REAL, "outcome" TEXT NOT NULL, "detail" TEXT NOT NULL, "usd" REAL, "tokens_in" INTEGER NOT NULL, "tokens_out" INTEGER NOT NULL, PRIMARY KEY (id));
INSERT INTO "call" VALUES('k','c2','restore','m','2026-01-01T00:00:00Z',1.0,'ok','',0.125,1,2);
CREATE TABLE candidate ("id" TEXT NOT NULL, "key" TEXT NOT NULL, "restorer" TEXT NOT NULL, "strategy" TEXT NOT NULL, "prompt" TEXT NOT NULL, "round" INTEGER NOT NULL, "seed" INTEGER NOT NULL, "created" TEXT NOT NULL, "image" TEXT NOT NULL, "reason" TEXT NOT NULL, "maker" TEXT NOT NULL, "frame" TEXT NOT NULL, PRIMARY KEY (id));
INSERT INTO "candidate" VALUES('c1','a','classical-1','none','',0,0,'2026-01-01T00:00:00Z','2222222222222222222222222222222222222222222222222222222222222222','','classical','[]');
INSERT INTO "candidate" VALUES('c2','a','classical-1','none','',0,0,'2026-01-01T00:00:00Z','3333333333333333333333333333333333333333333333333333333333333333','','gemini:m','[]');
INSERT INTO "candidate" VALUES('c3','b','classical-1','none','',0,0,'2026-01-01T00:00:00Z','4444444444444444444444444444444444444444444444444444444444444444','','classical','[]');
CREATE TABLE choice ("id" TEXT NOT NULL, "study" TEXT NOT NULL, "key" TEXT NOT NULL, "shown" TEXT NOT NULL, "best" TEXT NOT NULL, "reviewer" TEXT NOT NULL, "seconds" REAL, "undoes" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (id));
CREATE TABLE classed ("key" TEXT NOT NULL, "version" TEXT NOT NULL, "degradations" TEXT NOT NULL, PRIMARY KEY (key, version));
INSERT INTO "classed" VALUES('a','m-1','["rain"]');
CREATE TABLE conversion ("key" TEXT NOT NULL, "candidate" TEXT NOT NULL, "width" INTEGER NOT NULL, "height" INTEGER NOT NULL, "frame" TEXT NOT NULL, "changes" TEXT NOT NULL, PRIMARY KEY (key, candidate));
INSERT INTO "conversion" VALUES('a','',9,8,'[9, 8, 1, 2, 3, 4]','["x"]');
CREATE TABLE decision ("id" TEXT NOT NULL, "candidate" TEXT NOT NULL, "image" TEXT NOT NULL, "reviewer" TEXT NOT NULL, "decision" TEXT NOT NULL, "reason" TEXT NOT NULL, "seconds" REAL, "queue" TEXT NOT NULL, "said" TEXT NOT NULL, "planted" TEXT NOT NULL, "undoes" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (id));
INSERT INTO "decision" VALUES('d2','c1','5555555555555555555555555555555555555555555555555555555555555555','ann','keep','',1.5,'audit','keep','','','2026-01-01T00:00:00Z');
INSERT INTO "decision" VALUES('d1','c1','5555555555555555555555555555555555555555555555555555555555555555','ann','reject','',1.5,'audit','keep','unchanged','','2026-01-01T00:00:00Z');
CREATE TABLE entry ("study" TEXT NOT NULL, "entrant" TEXT NOT NULL, "key" TEXT NOT NULL, "candidate" TEXT NOT NULL, PRIMARY KEY (study, entrant, key));
CREATE TABLE gates (id TEXT PRIMARY KEY, text TEXT);
INSERT INTO "gates" VALUES('g','the gate');
CREATE TABLE held ("key" TEXT NOT NULL, "version" TEXT NOT NULL, PRIMARY KEY (key));
INSERT INTO "held" VALUES('b','1.0.0');
CREATE TABLE job ("id" TEXT NOT NULL, "maker" TEXT NOT NULL, "name" TEXT NOT NULL, "state" TEXT NOT NULL, "works" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (id));
INSERT INTO "job" VALUES('j','gemini:m','n','sent','["c2"]','2026-01-01T00:00:00Z');
CREATE TABLE layout (id INTEGER PRIMARY KEY, metrics TEXT NOT NULL UNIQUE);
INSERT INTO "layout" VALUES(1,'[["halo", "1"]]');
CREATE TABLE opinion ("id" TEXT NOT NULL, "candidate" TEXT NOT NULL, "image" TEXT NOT NULL, "model" TEXT NOT NULL, "version" TEXT NOT NULL, "order" TEXT NOT NULL, "vote" INTEGER NOT NULL, "fidelity" REAL, "quality" REAL, "mode" TEXT NOT NULL, "redo" INTEGER NOT NULL, "words" TEXT NOT NULL, "defects" TEXT NOT NULL, "fault" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (id));
INSERT INTO "opinion" VALUES('o','c1','5555555555555555555555555555555555555555555555555555555555555555','m','q','lq_first',0,90.0,80.0,'none',1,'keep the sign','["{\"kind\": \"text\"}"]','','2026-01-01T00:00:00Z');
CREATE TABLE outcome (id INTEGER PRIMARY KEY, gate TEXT NOT NULL, decision TEXT NOT NULL,
        stage TEXT NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL,
        UNIQUE (gate, decision, stage, reason, evidence));
INSERT INTO "outcome" VALUES(1,'g','keep','','','["structure %s >= 0.300", "halo %s <= 3.000", "ssim %s", "unfaithful %s > 0.200 unsure", "unfaithful: %s", "people: 2 keep, 1 reject; the rules say unsure"]');
INSERT INTO "outcome" VALUES(2,'g','reject','verdict','not_the_best','["structure %s >= 0.300", "the %s is c1"]');
INSERT INTO "outcome" VALUES(3,'g','reject','score','halos','["halo %s > 5.000", "of %s unknown kind"]');
CREATE TABLE photo ("key" TEXT NOT NULL, "image" TEXT NOT NULL, "width" INTEGER NOT NULL, "height" INTEGER NOT NULL, "degradation" TEXT NOT NULL, "degradations" TEXT NOT NULL, "source" TEXT NOT NULL, "source_name" TEXT NOT NULL, "licence" TEXT NOT NULL, "author" TEXT NOT NULL, "url" TEXT NOT NULL, "file" TEXT NOT NULL, "original" TEXT NOT NULL, PRIMARY KEY (key));
INSERT INTO "photo" VALUES('a','0000000000000000000000000000000000000000000000000000000000000000',90,70,'rain','["rain", "noise"]','internet','tests','CC0-1.0','Zoë','','a.jpg','1111111111111111111111111111111111111111111111111111111111111111');
INSERT INTO "photo" VALUES('b','0000000000000000000000000000000000000000000000000000000000000000',90,70,'rain','["rain", "noise"]','internet','tests','CC0-1.0','Zoë','','b.jpg','1111111111111111111111111111111111111111111111111111111111111111');
CREATE TABLE prompt ("id" TEXT NOT NULL, "key" TEXT NOT NULL, "strategy" TEXT NOT NULL, "version" TEXT NOT NULL, "text" TEXT NOT NULL, "note" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (id));
CREATE TABLE refusal ("file" TEXT NOT NULL, "reason" TEXT NOT NULL, "detail" TEXT NOT NULL, PRIMARY KEY (file));
INSERT INTO "refusal" VALUES('z.jpg','too_small','d');
CREATE TABLE scores
        (candidate TEXT NOT NULL PRIMARY KEY, layout INTEGER NOT NULL, "values" TEXT NOT NULL);
INSERT INTO "scores" VALUES('c1',1,'[2.25]');
CREATE TABLE seen ("key" TEXT NOT NULL, "phash" TEXT NOT NULL, "place" TEXT NOT NULL, PRIMARY KEY (key, place));
INSERT INTO "seen" VALUES('a','000000000000000000000000000000000000','');
INSERT INTO "seen" VALUES('x','111111111111111111111111111111111111','test');
CREATE TABLE study ("id" TEXT NOT NULL, "name" TEXT NOT NULL, "text" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (id));
CREATE TABLE tally (what TEXT NOT NULL PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO "tally" VALUES('["cost", "rain", "classical-1", "none"]',125000000);
INSERT INTO "tally" VALUES('["candidate", "rain", "classical-1", "none", 1, "", 1, "", "reject", "score", "halos"]',1);
INSERT INTO "tally" VALUES('["candidate", "rain", "classical-1", "none", 1, "", 1, "", "keep", "", ""]',1);
INSERT INTO "tally" VALUES('["candidate", "rain", "classical-1", "none", 1, "", 1, "", "reject", "verdict", "not_the_best"]',1);
INSERT INTO "tally" VALUES('["photo", "rain", 1, 1]',1);
INSERT INTO "tally" VALUES('["photo", "rain", 1, 3]',1);
CREATE TABLE verdicts
        (candidate TEXT NOT NULL PRIMARY KEY, outcome INTEGER NOT NULL, "values" TEXT NOT NULL);
INSERT INTO "verdicts" VALUES('c1',1,'["0.512", "2.250", "unmeasured", "0.250", "halo 2.250 adds 0.531", "%s"]');
INSERT INTO "verdicts" VALUES('c2',2,'["inf", "best"]');
INSERT INTO "verdicts" VALUES('c3',3,'["9.000", "an"]');
CREATE TABLE withdrawal ("key" TEXT NOT NULL, "reason" TEXT NOT NULL, "by" TEXT NOT NULL, "created" TEXT NOT NULL, PRIMARY KEY (key, reason));
CREATE INDEX call_work ON call (work);
CREATE INDEX candidate_key ON candidate (key);
CREATE INDEX call_outcome ON call (stage, model, outcome, usd);
CREATE INDEX refusal_reason ON refusal (reason);
CREATE VIEW score AS
        SELECT s.candidate, json_extract(m.value, '$[0]') AS metric, json_extract(m.value, '$[1]') AS metric_version,
            json_extract(s."values", '$[' || m.key || ']') AS value, m.key AS rowid
        FROM scores s JOIN layout l ON l.id = s.layout, json_each(l.metrics) m;
CREATE VIEW verdict AS SELECT v.candidate, o.gate, o.decision, o.stage, o.reason,
        (SELECT json_group_array(replace(line.value, '%s', json_extract(v."values", '$[' || line.key || ']')))
            FROM json_each(o.evidence) line) AS evidence, v.rowid
        FROM verdicts v JOIN outcome o ON o.id = v.outcome;
COMMIT;
PRAGMA user_version=7;
