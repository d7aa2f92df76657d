BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('journal_0001');
CREATE TABLE commands (
	command_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	payload TEXT NOT NULL, 
	time_ns BIGINT NOT NULL, 
	CONSTRAINT pk_commands PRIMARY KEY (command_id)
);
INSERT INTO "commands" VALUES(1,'risk_settings','{"duplicate_window_s": 2, "max_daily_loss": "5000", "max_open_orders": 50, "max_order_value": "25000", "max_position_value": "100000", "price_collar": "0.05"}',1700000000000000000);
INSERT INTO "commands" VALUES(2,'trading_state','{"epoch": 0, "reason": "first start", "state": "active"}',1700000000000000000);
CREATE TABLE equity (
	time_ns BIGINT NOT NULL, 
	pnl VARCHAR NOT NULL, 
	day_start BOOLEAN NOT NULL, 
	CONSTRAINT pk_equity PRIMARY KEY (time_ns)
);
INSERT INTO "equity" VALUES(1700000003000000000,'0',1);
CREATE TABLE fills (
	venue VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	trade_id VARCHAR NOT NULL, 
	venue_order_id VARCHAR NOT NULL, 
	client_order_id VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	side VARCHAR NOT NULL, 
	price VARCHAR NOT NULL, 
	quantity VARCHAR NOT NULL, 
	fee VARCHAR NOT NULL, 
	fee_currency VARCHAR NOT NULL, 
	fee_quote VARCHAR, 
	liquidity VARCHAR NOT NULL, 
	time_ns BIGINT NOT NULL, 
	booked_ns BIGINT NOT NULL, 
	CONSTRAINT pk_fills PRIMARY KEY (venue, symbol, trade_id), 
	CONSTRAINT fk_fills_client_order_id FOREIGN KEY(client_order_id) REFERENCES orders (client_order_id)
);
INSERT INTO "fills" VALUES('fake','BTC/USDT','3','v2','maru-pbm6kkxjc76j4txtc5flwat7vp','manual','buy','100','1','0.001','BTC','0.100','taker',1700000003000000000,1700000003000000000);
INSERT INTO "fills" VALUES('fake','BTC/USDT','5','v4','maru-hlmc2sgzim654ssgqqedyfvkoi','manual','buy','120','0.5','0.0005','BTC','0.0600','taker',1700000006000000000,1700000006000000000);
INSERT INTO "fills" VALUES('fake','BTC/USDT','7','v6','maru-3s66r4dlkabe5svs37kwbfb66u','trend','buy','120','0.3','0.0003','BTC','0.0360','taker',1700000006000000000,1700000006000000000);
INSERT INTO "fills" VALUES('fake','BTC/USDT','9','v8','maru-rzlfhzvl6uvz2k3bjznx5hzkbw','manual','sell','130','1.2','0.1560','USDT','0.1560','taker',1700000009000000000,1700000009000000000);
INSERT INTO "fills" VALUES('fake','BTC/USDT','11','v10','maru-qymwcbj53ykdhdbr3ar634qere','manual','buy','125','0.2','0.001','BNB',NULL,'taker',1700000012000000000,1700000012000000000);
INSERT INTO "fills" VALUES('fake','BTC/USDT','13','v12','maru-roq5h6z6nlync5sdj4nbwwuelb','trend','sell','140','0.1','0.0140','USDT','0.0140','taker',1700000015000000000,1700000015000000000);
CREATE TABLE intents (
	intent_id VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	side VARCHAR NOT NULL, 
	quantity VARCHAR NOT NULL, 
	order_type VARCHAR NOT NULL, 
	limit_price VARCHAR, 
	stop_price VARCHAR, 
	time_in_force VARCHAR NOT NULL, 
	reduce_only BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	reference_price VARCHAR, 
	model_id VARCHAR NOT NULL, 
	feature_hash VARCHAR NOT NULL, 
	forecast DOUBLE, 
	bar_open_ns BIGINT, 
	created_ns BIGINT NOT NULL, 
	CONSTRAINT pk_intents PRIMARY KEY (intent_id)
);
INSERT INTO "intents" VALUES('manual:6c512c9d8b4543d5a1582aff47905932','manual','manual','BTC/USDT','buy','1','market',NULL,NULL,'GTC',0,'manual order',NULL,'','',NULL,NULL,1700000003000000000);
INSERT INTO "intents" VALUES('manual:7a0b794e469e417185cd9bda3073a2fe','manual','manual','BTC/USDT','buy','0.5','market',NULL,NULL,'GTC',0,'manual order',NULL,'','',NULL,NULL,1700000006000000000);
INSERT INTO "intents" VALUES('strategy:1','strategy','trend','BTC/USDT','buy','0.3','market',NULL,NULL,'GTC',0,'',NULL,'','',NULL,NULL,1700000006000000000);
INSERT INTO "intents" VALUES('manual:b0e017bf4a994d8ab36856094ddbe157','manual','manual','BTC/USDT','sell','1.2','market',NULL,NULL,'GTC',0,'manual order',NULL,'','',NULL,NULL,1700000009000000000);
INSERT INTO "intents" VALUES('manual:def1c6cb44b441358f17d1271283c62d','manual','manual','BTC/USDT','buy','0.2','market',NULL,NULL,'GTC',0,'manual order',NULL,'','',NULL,NULL,1700000012000000000);
INSERT INTO "intents" VALUES('manual:8541692731074a998ad384f3c81f13d9','manual','trend','BTC/USDT','sell','0.1','market',NULL,NULL,'GTC',1,'manual order for trend',NULL,'','',NULL,NULL,1700000015000000000);
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('begun_ns','1700000000000000000');
INSERT INTO "meta" VALUES('first_balances','{"USDT": "10000"}');
CREATE TABLE order_events (
	event_id INTEGER NOT NULL, 
	client_order_id VARCHAR NOT NULL, 
	from_state VARCHAR NOT NULL, 
	to_state VARCHAR NOT NULL, 
	cause VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	time_ns BIGINT NOT NULL, 
	CONSTRAINT pk_order_events PRIMARY KEY (event_id), 
	CONSTRAINT fk_order_events_client_order_id FOREIGN KEY(client_order_id) REFERENCES orders (client_order_id)
);
INSERT INTO "order_events" VALUES(1,'maru-pbm6kkxjc76j4txtc5flwat7vp','initialized','submitted','submit','',1700000003000000000);
INSERT INTO "order_events" VALUES(2,'maru-pbm6kkxjc76j4txtc5flwat7vp','submitted','filled','fill','trade 3',1700000003000000000);
INSERT INTO "order_events" VALUES(3,'maru-hlmc2sgzim654ssgqqedyfvkoi','initialized','submitted','submit','',1700000006000000000);
INSERT INTO "order_events" VALUES(4,'maru-hlmc2sgzim654ssgqqedyfvkoi','submitted','filled','fill','trade 5',1700000006000000000);
INSERT INTO "order_events" VALUES(5,'maru-3s66r4dlkabe5svs37kwbfb66u','initialized','submitted','submit','',1700000006000000000);
INSERT INTO "order_events" VALUES(6,'maru-3s66r4dlkabe5svs37kwbfb66u','submitted','filled','fill','trade 7',1700000006000000000);
INSERT INTO "order_events" VALUES(7,'maru-rzlfhzvl6uvz2k3bjznx5hzkbw','initialized','submitted','submit','',1700000009000000000);
INSERT INTO "order_events" VALUES(8,'maru-rzlfhzvl6uvz2k3bjznx5hzkbw','submitted','filled','fill','trade 9',1700000009000000000);
INSERT INTO "order_events" VALUES(9,'maru-qymwcbj53ykdhdbr3ar634qere','initialized','submitted','submit','',1700000012000000000);
INSERT INTO "order_events" VALUES(10,'maru-qymwcbj53ykdhdbr3ar634qere','submitted','filled','fill','trade 11',1700000012000000000);
INSERT INTO "order_events" VALUES(11,'maru-roq5h6z6nlync5sdj4nbwwuelb','initialized','submitted','submit','',1700000015000000000);
INSERT INTO "order_events" VALUES(12,'maru-roq5h6z6nlync5sdj4nbwwuelb','submitted','filled','fill','trade 13',1700000015000000000);
CREATE TABLE orders (
	client_order_id VARCHAR NOT NULL, 
	intent_id VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	venue_order_id VARCHAR NOT NULL, 
	filled_quantity VARCHAR NOT NULL, 
	average_price VARCHAR, 
	booked_quantity VARCHAR NOT NULL, 
	booked_value VARCHAR NOT NULL, 
	fills_complete BOOLEAN NOT NULL, 
	reason_code VARCHAR NOT NULL, 
	message TEXT NOT NULL, 
	submitted_ns BIGINT NOT NULL, 
	updated_ns BIGINT NOT NULL, 
	CONSTRAINT pk_orders PRIMARY KEY (client_order_id), 
	CONSTRAINT fk_orders_intent_id FOREIGN KEY(intent_id) REFERENCES intents (intent_id), 
	CONSTRAINT uq_orders_intent_id UNIQUE (intent_id)
);
INSERT INTO "orders" VALUES('maru-pbm6kkxjc76j4txtc5flwat7vp','manual:6c512c9d8b4543d5a1582aff47905932','BTC/USDT','filled','v2','1','100','1','100',1,'','',1700000003000000000,1700000003000000000);
INSERT INTO "orders" VALUES('maru-hlmc2sgzim654ssgqqedyfvkoi','manual:7a0b794e469e417185cd9bda3073a2fe','BTC/USDT','filled','v4','0.5','120','0.5','60.0',1,'','',1700000006000000000,1700000006000000000);
INSERT INTO "orders" VALUES('maru-3s66r4dlkabe5svs37kwbfb66u','strategy:1','BTC/USDT','filled','v6','0.3','120','0.3','36.0',1,'','',1700000006000000000,1700000006000000000);
INSERT INTO "orders" VALUES('maru-rzlfhzvl6uvz2k3bjznx5hzkbw','manual:b0e017bf4a994d8ab36856094ddbe157','BTC/USDT','filled','v8','1.2','130','1.2','156.0',1,'','',1700000009000000000,1700000009000000000);
INSERT INTO "orders" VALUES('maru-qymwcbj53ykdhdbr3ar634qere','manual:def1c6cb44b441358f17d1271283c62d','BTC/USDT','filled','v10','0.2','125','0.2','25.0',1,'','',1700000012000000000,1700000012000000000);
INSERT INTO "orders" VALUES('maru-roq5h6z6nlync5sdj4nbwwuelb','manual:8541692731074a998ad384f3c81f13d9','BTC/USDT','filled','v12','0.1','140','0.1','14.0',1,'','',1700000015000000000,1700000015000000000);
CREATE TABLE positions (
	venue VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	quantity VARCHAR NOT NULL, 
	average_price VARCHAR NOT NULL, 
	realised_pnl VARCHAR NOT NULL, 
	fees VARCHAR NOT NULL, 
	updated_ns BIGINT NOT NULL, 
	CONSTRAINT pk_positions PRIMARY KEY (venue, symbol, owner)
);
INSERT INTO "positions" VALUES('fake','BTC/USDT','manual','0.4985','114.02472929127609646819042852372996240','28.001327551701134089392928619079386256','0.3160',1700000012000000000);
INSERT INTO "positions" VALUES('fake','BTC/USDT','trend','0.1997','120','2.0000','0.0500',1700000015000000000);
CREATE TABLE strategies (
	strategy_id VARCHAR NOT NULL, 
	title VARCHAR NOT NULL, 
	symbol VARCHAR NOT NULL, 
	timeframe VARCHAR NOT NULL, 
	model_id VARCHAR NOT NULL, 
	capital VARCHAR NOT NULL, 
	entry_z DOUBLE NOT NULL, 
	exit_z DOUBLE NOT NULL, 
	running BOOLEAN NOT NULL, 
	last_bar_ns BIGINT, 
	last_target DOUBLE, 
	CONSTRAINT pk_strategies PRIMARY KEY (strategy_id)
);
CREATE TABLE trading_state (
	row_id INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	reason TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	since_ns BIGINT NOT NULL, 
	CONSTRAINT pk_trading_state PRIMARY KEY (row_id)
);
INSERT INTO "trading_state" VALUES(1,'active','first start',0,1700000000000000000);
CREATE INDEX ix_commands_kind ON commands (kind);
CREATE INDEX ix_orders_state ON orders (state);
CREATE INDEX ix_orders_updated_ns ON orders (updated_ns);
CREATE INDEX ix_orders_venue ON orders (symbol, venue_order_id);
CREATE INDEX ix_fills_booked_ns ON fills (booked_ns);
CREATE INDEX ix_fills_client_order_id ON fills (client_order_id);
CREATE INDEX ix_order_events_client_order_id ON order_events (client_order_id);
COMMIT;
