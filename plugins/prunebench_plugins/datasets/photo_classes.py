"""Class names of Food-101, Caltech-101 and SUN397: the names of their folders."""

from __future__ import annotations

_FOOD101 = """
apple_pie baby_back_ribs baklava beef_carpaccio beef_tartare beet_salad beignets bibimbap bread_pudding
breakfast_burrito bruschetta caesar_salad cannoli caprese_salad carrot_cake ceviche cheese_plate cheesecake
chicken_curry chicken_quesadilla chicken_wings chocolate_cake chocolate_mousse churros clam_chowder
club_sandwich crab_cakes creme_brulee croque_madame cup_cakes deviled_eggs donuts dumplings edamame
eggs_benedict escargots falafel filet_mignon fish_and_chips foie_gras french_fries french_onion_soup
french_toast fried_calamari fried_rice frozen_yogurt garlic_bread gnocchi greek_salad grilled_cheese_sandwich
grilled_salmon guacamole gyoza hamburger hot_and_sour_soup hot_dog huevos_rancheros hummus ice_cream lasagna
lobster_bisque lobster_roll_sandwich macaroni_and_cheese macarons miso_soup mussels nachos omelette
onion_rings oysters pad_thai paella pancakes panna_cotta peking_duck pho pizza pork_chop poutine prime_rib
pulled_pork_sandwich ramen ravioli red_velvet_cake risotto samosa sashimi scallops seaweed_salad
shrimp_and_grits spaghetti_bolognese spaghetti_carbonara spring_rolls steak strawberry_shortcake sushi tacos
takoyaki tiramisu tuna_tartare waffles
"""

# Each with its number of images, 8677 in all.
_CALTECH101 = """
Faces 435, Faces_easy 435, Leopards 200, Motorbikes 798, accordion 55, airplanes 800, anchor 42, ant 42,
barrel 47, bass 54, beaver 46, binocular 33, bonsai 128, brain 98, brontosaurus 43, buddha 85, butterfly 91,
camera 50, cannon 43, car_side 123, ceiling_fan 47, cellphone 59, chair 62, chandelier 107, cougar_body 47,
cougar_face 69, crab 73, crayfish 70, crocodile 50, crocodile_head 51, cup 57, dalmatian 67, dollar_bill 52,
dolphin 65, dragonfly 68, electric_guitar 75, elephant 64, emu 53, euphonium 64, ewer 85, ferry 67,
flamingo 67, flamingo_head 45, garfield 34, gerenuk 34, gramophone 51, grand_piano 99, hawksbill 100,
headphone 42, hedgehog 54, helicopter 88, ibis 80, inline_skate 31, joshua_tree 64, kangaroo 86, ketch 114,
lamp 61, laptop 81, llama 78, lobster 41, lotus 66, mandolin 43, mayfly 40, menorah 87, metronome 32,
minaret 76, nautilus 55, octopus 35, okapi 39, pagoda 47, panda 38, pigeon 45, pizza 53, platypus 34,
pyramid 57, revolver 82, rhino 59, rooster 49, saxophone 40, schooner 63, scissors 39, scorpion 84,
sea_horse 57, snoopy 35, soccer_ball 64, stapler 45, starfish 86, stegosaurus 59, stop_sign 64,
strawberry 35, sunflower 85, tick 49, trilobite 86, umbrella 75, watch 239, water_lilly 37, wheelchair 59,
wild_cat 34, windsor_chair 56, wrench 39, yin_yang 60
"""

# Without the folder of the first letter: apse/indoor for a/apse/indoor.
_SUN397 = """
abbey airplane_cabin airport_terminal alley amphitheater amusement_arcade amusement_park anechoic_chamber
apartment_building/outdoor apse/indoor aquarium aqueduct arch archive arrival_gate/outdoor art_gallery
art_school art_studio assembly_line athletic_field/outdoor atrium/public attic auditorium auto_factory
badlands badminton_court/indoor baggage_claim bakery/shop balcony/exterior balcony/interior ball_pit ballroom
bamboo_forest banquet_hall bar barn barndoor baseball_field basement basilica basketball_court/outdoor
bathroom batters_box bayou bazaar/indoor bazaar/outdoor beach beauty_salon bedroom berth biology_laboratory
bistro/indoor boardwalk boat_deck boathouse bookstore booth/indoor botanical_garden bow_window/indoor
bow_window/outdoor bowling_alley boxing_ring brewery/indoor bridge building_facade bullring burial_chamber
bus_interior butchers_shop butte cabin/outdoor cafeteria campsite campus canal/natural canal/urban
candy_store canyon car_interior/backseat car_interior/frontseat carrousel casino/indoor castle catacomb
cathedral/indoor cathedral/outdoor cavern/indoor cemetery chalet cheese_factory chemistry_lab
chicken_coop/indoor chicken_coop/outdoor childs_room church/indoor church/outdoor classroom clean_room cliff
cloister/indoor closet clothing_store coast cockpit coffee_shop computer_room conference_center
conference_room construction_site control_room control_tower/outdoor corn_field corral corridor
cottage_garden courthouse courtroom courtyard covered_bridge/exterior creek crevasse crosswalk cubicle/office
dam delicatessen dentists_office desert/sand desert/vegetation diner/indoor diner/outdoor dinette/home
dinette/vehicle dining_car dining_room discotheque dock doorway/outdoor dorm_room driveway
driving_range/outdoor drugstore electrical_substation elevator/door elevator/interior elevator_shaft
engine_room escalator/indoor excavation factory/indoor fairway fastfood_restaurant field/cultivated
field/wild fire_escape fire_station firing_range/indoor fishpond florist_shop/indoor food_court
forest/broadleaf forest/needleleaf forest_path forest_road formal_garden fountain galley game_room
garage/indoor garbage_dump gas_station gazebo/exterior general_store/indoor general_store/outdoor gift_shop
golf_course greenhouse/indoor greenhouse/outdoor gymnasium/indoor hangar/indoor hangar/outdoor harbor
hayfield heliport herb_garden highway hill home_office hospital hospital_room hot_spring hot_tub/outdoor
hotel/outdoor hotel_room house hunting_lodge/outdoor ice_cream_parlor ice_floe ice_shelf
ice_skating_rink/indoor ice_skating_rink/outdoor iceberg igloo industrial_area inn/outdoor islet
jacuzzi/indoor jail/indoor jail_cell jewelry_shop kasbah kennel/indoor kennel/outdoor kindergarden_classroom
kitchen kitchenette labyrinth/outdoor lake/natural landfill landing_deck laundromat lecture_room
library/indoor library/outdoor lido_deck/outdoor lift_bridge lighthouse limousine_interior living_room lobby
lock_chamber locker_room mansion manufactured_home market/indoor market/outdoor marsh martial_arts_gym
mausoleum medina moat/water monastery/outdoor mosque/indoor mosque/outdoor motel mountain mountain_snowy
movie_theater/indoor museum/indoor music_store music_studio nuclear_power_plant/outdoor nursery oast_house
observatory/outdoor ocean office office_building oil_refinery/outdoor oilrig operating_room orchard
outhouse/outdoor pagoda palace pantry park parking_garage/indoor parking_garage/outdoor parking_lot parlor
pasture patio pavilion pharmacy phone_booth physics_laboratory picnic_area pilothouse/indoor
planetarium/outdoor playground playroom plaza podium/indoor podium/outdoor pond poolroom/establishment
poolroom/home power_plant/outdoor promenade_deck pub/indoor pulpit putting_green racecourse raceway raft
railroad_track rainforest reception recreation_room residential_neighborhood restaurant restaurant_kitchen
restaurant_patio rice_paddy riding_arena river rock_arch rope_bridge ruin runway sandbar sandbox sauna
schoolhouse sea_cliff server_room shed shoe_shop shopfront shopping_mall/indoor shower skatepark ski_lodge
ski_resort ski_slope sky skyscraper slum snowfield squash_court stable stadium/baseball stadium/football
stage/indoor staircase street subway_interior subway_station/platform supermarket sushi_bar swamp
swimming_pool/indoor swimming_pool/outdoor synagogue/indoor synagogue/outdoor television_studio
temple/east_asia temple/south_asia tennis_court/indoor tennis_court/outdoor tent/outdoor
theater/indoor_procenium theater/indoor_seats thriftshop throne_room ticket_booth toll_plaza topiary_garden
tower toyshop track/outdoor train_railway train_station/platform tree_farm tree_house trench
underwater/coral_reef utility_room valley van_interior vegetable_garden veranda veterinarians_office viaduct
videostore village vineyard volcano volleyball_court/indoor volleyball_court/outdoor waiting_room
warehouse/indoor water_tower waterfall/block waterfall/fan waterfall/plunge watering_hole wave wet_bar
wheat_field wind_farm windmill wine_cellar/barrel_storage wine_cellar/bottle_storage wrestling_ring/indoor
yard youth_hostel
"""

FOOD101 = tuple(_FOOD101.split())
CALTECH101 = {name: int(images) for name, images in map(str.split, _CALTECH101.split(","))}
SUN397 = tuple(_SUN397.split())
