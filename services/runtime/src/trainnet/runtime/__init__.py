"""What every TrainNet service shares. Import the modules: settings, log, errors, server, store, …"""
