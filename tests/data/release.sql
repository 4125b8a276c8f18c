BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0100');
CREATE TABLE audit (
	id VARCHAR(36) NOT NULL, 
	at DATETIME NOT NULL, 
	username VARCHAR(64) NOT NULL, 
	cluster VARCHAR(64) NOT NULL, 
	address VARCHAR(64) NOT NULL, 
	method VARCHAR(16) NOT NULL, 
	path TEXT NOT NULL, 
	action VARCHAR(129) NOT NULL, 
	options TEXT, 
	outcome VARCHAR(16) NOT NULL, 
	status INTEGER NOT NULL, 
	error VARCHAR(64), 
	task VARCHAR(36), 
	request VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE batch (
	id VARCHAR(36) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	operator VARCHAR(64) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	username VARCHAR(64) NOT NULL, 
	cluster VARCHAR(64) NOT NULL, 
	options TEXT NOT NULL, 
	sweep TEXT, 
	mode VARCHAR(16), 
	parameters TEXT NOT NULL, 
	secret BOOLEAN NOT NULL, 
	size INTEGER NOT NULL, 
	at_once INTEGER, 
	tags TEXT NOT NULL, 
	retry_of VARCHAR(36), 
	notify TEXT, 
	created_at DATETIME NOT NULL, 
	ready_at DATETIME, 
	dispatched_at DATETIME, 
	cancel_asked_at DATETIME, 
	ended_at DATETIME, 
	PRIMARY KEY (id)
);
CREATE TABLE credential (
	id VARCHAR(36) NOT NULL, 
	username VARCHAR(64) NOT NULL, 
	cluster VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	public_key VARCHAR(512) NOT NULL, 
	encrypted_key BLOB, 
	worker VARCHAR(128), 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	revoked_at DATETIME, 
	remote_groups TEXT, 
	PRIMARY KEY (id)
);
CREATE TABLE idempotency_key (
	id VARCHAR(64) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	task VARCHAR(36) NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE step (
	task VARCHAR(36) NOT NULL, 
	number INTEGER NOT NULL, 
	command TEXT NOT NULL, 
	undo BOOLEAN NOT NULL, 
	log_lines INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	seconds FLOAT, 
	exit_code INTEGER, 
	stdout TEXT, 
	stderr TEXT, 
	truncated BOOLEAN NOT NULL, 
	error TEXT, 
	step_id VARCHAR(80), 
	PRIMARY KEY (task, number)
);
INSERT INTO "step" VALUES('01930000-0000-7000-8000-000000000002',1,'true',0,0,'2026-11-27 12:00:00.000000',NULL,0,'','',0,NULL,NULL);
CREATE TABLE step_output (
	task VARCHAR(36) NOT NULL, 
	number INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	stream INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (task, number)
);
CREATE TABLE task (
	id VARCHAR(36) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	operator VARCHAR(64) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	username VARCHAR(64) NOT NULL, 
	cluster VARCHAR(64) NOT NULL, 
	credential VARCHAR(36) NOT NULL, 
	request VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	options TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	encrypted_payload BLOB, 
	time_limit FLOAT NOT NULL, 
	worker VARCHAR(128), 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	ended_at DATETIME, 
	seconds FLOAT, 
	command TEXT, 
	output TEXT, 
	stderr TEXT, 
	exit_code INTEGER, 
	truncated BOOLEAN NOT NULL, 
	log TEXT NOT NULL, 
	progress TEXT, 
	error TEXT, 
	pending_undo TEXT, 
	cancel_asked_at DATETIME, 
	note TEXT, 
	batch VARCHAR(36), 
	number INTEGER, 
	parameters TEXT, 
	dispatched_at DATETIME, 
	resume_count INTEGER, 
	notify TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "task" VALUES('01930000-0000-7000-8000-000000000001','command','utils','id','ada','hpc','c1','','succeeded','{}','["old","Ünd"]',NULL,9.0,'w1','2026-11-27 12:00:00.000000','2026-11-30 02:02:55.851428','2026-11-30 02:02:55.858264',0.1,NULL,'"uid=1000(ada)\n"',NULL,0,0,'[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "task" VALUES('01930000-0000-7000-8000-000000000002','operation','core','run','ada','hpc','c1','','running','{}','[]',NULL,9.0,'w1','2026-11-27 12:00:00.000000','2026-11-30 02:02:55.864168',NULL,NULL,NULL,NULL,NULL,NULL,0,'[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE task_tag (
	tag VARCHAR(64) NOT NULL, 
	task VARCHAR(36) NOT NULL, 
	PRIMARY KEY (tag, task)
)
 WITHOUT ROWID

;
INSERT INTO "task_tag" VALUES('12e4513a09b1e94d4e7078c5c7e2e84b5c3b3f35da763fe3b35aa681ce51a283','01930000-0000-7000-8000-000000000001');
INSERT INTO "task_tag" VALUES('6a16ed9606588210b41a9a3b360eea81e85234ea74d1f6986e78849852b1081e','01930000-0000-7000-8000-000000000001');
CREATE TABLE webhook_delivery (
	task VARCHAR(36) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at DATETIME, 
	delivered_at DATETIME, 
	last_error TEXT, 
	PRIMARY KEY (task)
);
CREATE TABLE worker (
	id VARCHAR(128) NOT NULL, 
	seen_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX audit_of_user ON audit (username, id);
CREATE INDEX task_of_batch_by_state ON task (batch, state, dispatched_at, number) WHERE batch IS NOT NULL;
CREATE INDEX task_by_state ON task (state, worker, username, cluster, batch);
CREATE INDEX task_of_batch ON task (batch, number) WHERE batch IS NOT NULL;
CREATE INDEX task_of_user ON task (username, cluster, id);
CREATE INDEX task_tag_by_task ON task_tag (task);
CREATE INDEX batch_by_end ON batch (ended_at);
CREATE INDEX batch_of_user ON batch (username, cluster, id);
CREATE INDEX ix_idempotency_key_created_at ON idempotency_key (created_at);
CREATE INDEX ix_webhook_delivery_next_at ON webhook_delivery (next_at);
CREATE INDEX ix_credential_username ON credential (username);
COMMIT;
